// What the API answers, as a chart holds it: one list of times, and of each line its averages, lows and highs.
// Times are epoch ms. Pure functions; a line is { key, label, unit, kind, values, lows, highs, gaps }.

const PATIENCE = 3; // as the server: a silence of three usual intervals is a gap

export const EMPTY = { times: [], lines: [], step: 1000, usual: 1000, source: "", leftOut: [] };

export function held(answer, lines) {
  const waits = answer.times.slice(1).map((time, index) => time - answer.times[index]).sort((a, b) => a - b);
  return {
    times: answer.times, step: answer.step_ms, source: answer.source, leftOut: answer.left_out,
    usual: waits[waits.length >> 1] ?? answer.step_ms,
    lines: lines.map((line) => ({
      ...line, values: answer.values[line.key] ?? [], lows: answer.lows[line.key] ?? [],
      highs: answer.highs[line.key] ?? [], gaps: answer.gaps[line.key] ?? [],
    })),
  };
}

// A reading just heard goes into its bucket, mostly the newest, or opens the next one: devices beside each other do not
// speak in order. `value` gives each line's. Returns whether a bucket was completed by it.
export function append(data, ts, value, oldest) {
  const bucket = Math.floor(ts / data.step) * data.step;
  const last = data.times.at(-1);
  const full = last === undefined || bucket > last;
  if (full) {
    if (last !== undefined && bucket - last - data.step >= PATIENCE * data.usual) skip(data, last + data.step, bucket);
    add(data, bucket);
  }
  const at = full ? data.times.length - 1 : placeOf(data, bucket);
  if (at < 0) return false; // older than all that is shown
  for (const line of data.lines) {
    const heard = value(line) ?? null;
    if (heard === null) continue;
    line.lows[at] = Math.min(heard, line.lows[at] ?? heard);
    line.highs[at] = Math.max(heard, line.highs[at] ?? heard);
    if (at === data.times.length - 1) line.values[at] = heard; // the bucket's average is the server's to say
    else line.values[at] ??= heard;
  }
  while (data.times[0] < oldest) {
    data.times.shift();
    for (const { values, lows, highs } of data.lines) for (const each of [values, lows, highs]) each.shift();
  }
  return full;
}

// The index of a bucket that is not newer than all there are; one that nobody has spoken in yet is put in its place.
function placeOf(data, bucket) {
  const after = data.times.findIndex((time) => time >= bucket);
  if (data.times[after] === bucket) return after;
  if (after <= 0) return -1;
  data.times.splice(after, 0, bucket);
  for (const { values, lows, highs } of data.lines) for (const each of [values, lows, highs]) each.splice(after, 0, null);
  return after;
}

function skip(data, from, to) {
  for (const line of data.lines) line.gaps.push([from, to]);
  add(data, from);
}

function add(data, time) {
  data.times.push(time);
  for (const { values, lows, highs } of data.lines) for (const each of [values, lows, highs]) each.push(null);
}

// uPlot breaks a line at `null` and goes on over `undefined`: only a gap breaks it, not a bucket another line has.
export function column(times, values, gaps) {
  let at = 0;
  return values.map((value, index) => {
    if (value !== null) return value;
    while (at < gaps.length && gaps[at][1] <= times[index]) at++;
    return at < gaps.length && gaps[at][0] <= times[index] ? null : undefined;
  });
}

// Where a value stands alone between two breaks (or a break and an end): a line through it has no length.
export function alone(values) {
  const found = [];
  let [before, last] = [null, -1]; // the value next to it on the left, null for a break; where the newest value is
  let single = false;
  for (let at = 0; at < values.length; at++) {
    if (values[at] === undefined) continue;
    if (values[at] === null) {
      if (single) found.push(last);
      [before, single] = [null, false];
    } else [single, before, last] = [before === null, values[at], at];
  }
  return single ? [...found, last] : found;
}

// The lowest, the average and the highest of what is shown: extremes of readings, not of the averages drawn.
export function sums({ times, lines: [line] }, min, max) {
  return line ? summed(line, times.flatMap((time, index) => (time >= min && time <= max ? [index] : []))) : null;
}

function summed({ values, lows, highs }, places) {
  const known = (list) => places.map((index) => list[index]).filter((value) => value !== null);
  const means = known(values);
  if (!means.length) return null;
  const least = known(lows).reduce((a, b) => Math.min(a, b));
  const most = known(highs).reduce((a, b) => Math.max(a, b));
  return { low: least, high: most, mean: means.reduce((a, b) => a + b) / means.length };
}

const [SECOND, MINUTE, HOUR, DAY] = [1000, 60_000, 3_600_000, 86_400_000];
const WIDTHS = [
  SECOND, 5 * SECOND, 15 * SECOND, 30 * SECOND, MINUTE, 5 * MINUTE, 15 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 3 * HOUR,
  6 * HOUR, 12 * HOUR, DAY, 2 * DAY, 7 * DAY, 14 * DAY, 28 * DAY, 91 * DAY, 364 * DAY,
];

// The same of each line, for about so many stretches of equal length; those in which nobody spoke are left out.
export function stretches({ times, lines, step }, min, max, most) {
  const width = WIDTHS.find((each) => each >= step && each >= (max - min) / most) ?? WIDTHS.at(-1);
  const places = new Map();
  for (const [index, time] of times.entries()) {
    const at = Math.floor(time / width) * width;
    if (time >= min && time <= max) places.set(at, [...(places.get(at) ?? []), index]);
  }
  const rows = [...places].map(([at, found]) => ({ at, lines: lines.map((line) => summed(line, found)) }));
  return { width, rows: rows.filter((row) => row.lines.some(Boolean)) };
}
