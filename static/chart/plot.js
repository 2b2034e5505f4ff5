// The canvas: lines with the range between low and high as a light area, the usual range behind, marks where it was left.

import { tick } from "../format.js";
import { alone, column } from "./data.js";
import { drawMarks } from "./marks.js";

const { uPlot } = globalThis;
export const HEIGHT = 280;
const NARROW = 480;

// Colours come from the stylesheet at every drawing, so that a change of theme needs no code.
const style = (element, name) => () => getComputedStyle(element)[name];

// `lines` as in data.js; `swatches` are elements, one for each line and the last for the usual range: their colour is
// the line's, their background the area's. `on`: { cursor(index), zoom(since, until), marks() }.
export function make(place, lines, swatches, usual, on) {
  const units = [...new Set(lines.map(scaleOf))];
  const usualColour = (name) => style(swatches.at(-1), name);
  const [series, bands] = [[{}], []];
  const area = (line, fill) => {
    bands.push({ series: [series.length, series.length + 1], fill });
    const edge = { scale: scaleOf(line), stroke: "transparent", width: 0, points: { show: false } };
    series.push(edge, { ...edge });
  };
  if (usual) area(lines[0], usualColour("backgroundColor"));
  for (const [index, line] of lines.entries()) if (ranged(line)) area(line, style(swatches[index], "backgroundColor"));
  for (const [index, line] of lines.entries()) {
    series.push({
      scale: scaleOf(line), stroke: style(swatches[index], "color"), width: 2,
      points: { show: false, size: 5, fill: style(swatches[index], "color"), filter: (self, place) => alone(self.data[place]) },
      paths: ranged(line) ? undefined : uPlot.paths.stepped({ align: 1 }),
    });
  }
  if (usual) {
    const colour = usualColour("outlineColor");
    series.push({ scale: scaleOf(lines[0]), stroke: colour, paths: () => null, points: { show: true, size: 5, fill: colour } });
  }
  return new uPlot({
    width: place.clientWidth || 600, height: HEIGHT, ms: 1, legend: { show: false }, series, bands,
    padding: [10, units.length > 1 ? 0 : 20, 0, 0],
    axes: axes(place, units, lines),
    scales: Object.fromEntries(units.map((unit) => [unit, unit === YES ? { range: [-0.1, 1.1] } : {}])),
    cursor: {
      drag: { x: true, y: false, dist: 8, setScale: false },
      points: { size: 8, show: (_, index) => series[index].width === 2 && undefined },
      dataIdx: (self, index, hovered) => nearest(self.data[index], hovered),
    },
    hooks: {
      ready: [touchable],
      draw: [(self) => drawMarks(self, on.marks(), getComputedStyle(place).caretColor)],
      setCursor: [({ cursor }) => on.cursor(cursor.idx)],
      setSelect: [(self) => {
        const { left, width } = self.select;
        if (width < 8) return;
        const ends = [left, left + width].map((at) => self.posToVal(at, "x"));
        self.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
        on.zoom(...ends);
      }],
    },
  }, [[]], place);
}

const YES = "yes";
const ranged = (line) => line.kind !== "boolean";
const scaleOf = (line) => (ranged(line) ? `in ${line.unit}` : YES);

function axes(place, units, lines) {
  const stroke = style(place, "color");
  const base = { stroke, font: "12px system-ui, sans-serif", ticks: { show: false } };
  const grid = { stroke: style(place, "outlineColor"), width: 1 };
  const narrow = place.clientWidth < NARROW;
  const words = (_, ticks, __, ___, step) => ticks.map((time) => tick(time, step / 1000));
  const x = { ...base, grid, space: narrow ? 70 : 90, size: 30, values: words };
  return [x, ...units.slice(0, 2).map((unit, index) => ({
    ...base, scale: unit, side: index ? 1 : 3, size: narrow ? 48 : 62, grid: index ? { show: false } : grid,
    label: units.length > 1 && unit !== YES ? lines.find((line) => scaleOf(line) === unit).unit : undefined,
    labelSize: 16, labelFont: base.font,
    splits: unit === YES ? () => [0, 1] : undefined,
    values: (_, ticks) => ticks.map((value) => (unit !== YES ? value.toLocaleString("en") : value ? "Yes" : "No")),
  }))];
}

// The columns `make` has ordered: the usual range, low and high of each line, the lines, what lies outside.
export function table({ times, lines }, band) {
  const all = band ? [...new Set([...times, ...band.times])].sort((a, b) => a - b) : times;
  const spread = (from, values) => {
    const at = new Map(from.map((time, index) => [time, index]));
    return all === from ? values : all.map((time) => values[at.get(time)] ?? null);
  };
  const of = (line, values) => column(all, spread(times, values), line.gaps);
  const areas = lines.filter(ranged).flatMap((line) => [of(line, line.highs), of(line, line.lows)]);
  const drawn = [...areas, ...lines.map((line) => of(line, line.values))];
  if (!band) return [all, ...drawn];
  const usual = [band.highs, band.lows].map((values) => column(all, spread(band.times, values), []));
  const out = new Set(band.outside);
  const marks = all.map((time, index) => (out.has(time) ? drawn.at(-lines.length)[index] : undefined));
  return [all, ...usual, ...drawn, marks];
}

// Where the first line is in that table.
export const main = (lines, band) => 1 + 2 * (lines.filter(ranged).length + (band ? 1 : 0));

// The index at or nearest to this one where there is a value.
export function nearest(values, index) {
  for (let away = 0; away < values.length; away++) {
    for (const at of [index - away, index + away]) if (values[at] !== null && values[at] !== undefined) return at;
  }
  return index;
}

// uPlot hears the mouse only: a finger that goes sideways is one, up and down it scrolls the page.
function touchable({ over }) {
  const say = (type, to) => (event) => {
    if (event.pointerType !== "touch") return;
    const { clientX, clientY } = event;
    to.dispatchEvent(new MouseEvent(type, { clientX, clientY, movementX: 1, button: 0, bubbles: true })); // moves by 0 are not believed
  };
  over.addEventListener("pointerdown", say("mousedown", over));
  over.addEventListener("pointermove", say("mousemove", over));
  over.addEventListener("pointerup", say("mouseup", document));
  over.addEventListener("pointercancel", say("mouseup", document));
}
