// <live-chart>: a device's newest values as tiles and a chart of the chosen one, a moment after the device spoke.

import { moment, now, reading, span, tick } from "./format.js";
import { live } from "./socket.js";

const { uPlot } = globalThis;
const HEIGHT = 280;
const [LOW, HIGH] = [":low", ":high"]; // beside a metric's averages: the extremes of the same buckets
const RELOAD = 60_000; // averages of long ranges are fetched again when a bucket is full, at most this often
const STATES = {
  loading: "Loading", live: "Live", quiet: "No data", empty: "No data", failed: "Could not load, trying again",
  lost: "Connection lost, reconnecting", stale: "Updates are delayed", refused: "Signed out: reload the page",
  changed: "The device speaks a new schema: reload the page",
};

class LiveChart extends HTMLElement {
  #times = [];
  #values = {};
  #step = 1000;
  #seconds = 900;
  #phase = "loading";
  #fetched = 0;
  #signals;

  connectedCallback() {
    this.metrics = JSON.parse(this.querySelector("script").textContent);
    this.numbers = this.metrics.filter((metric) => metric.kind !== "text");
    this.heard = Number(this.dataset.heard) * 1000;
    this.newest = Number(this.dataset.newest) * 1000 + 999;
    this.#signals = new AbortController();
    const { signal } = this.#signals;
    live.addEventListener("change", ({ detail }) => this.#changed(detail), { signal });
    live.addEventListener("again", () => this.#load(), { signal });
    live.addEventListener("state", () => this.#tell(), { signal });
    this.addEventListener("click", (event) => this.#clicked(event.target.closest("button")), { signal });
    live.watch([this.dataset.device]);
    if (!this.numbers.length) return;
    this.find(".chart").hidden = false;
    this.plot = this.find(".plot");
    this.plot.addEventListener("keydown", (event) => this.#walk(event), { signal });
    this.plot.addEventListener("blur", () => this.chart.setCursor({ left: -10, top: -10 }), { signal });
    for (const metric of this.numbers) this.tile(metric).disabled = false;
    this.sizes = new ResizeObserver(() => this.plot.clientWidth && this.chart?.setSize(this.#size()));
    this.sizes.observe(this.plot);
    this.clock = setInterval(() => this.#draw(), 1000);
    this.#choose(this.numbers[0]);
    this.#load();
  }

  disconnectedCallback() {
    this.#signals.abort();
    this.sizes?.disconnect();
    clearInterval(this.clock);
    this.chart?.destroy();
  }

  find = (selector) => this.querySelector(selector);
  tile = (metric) => this.find(`[data-metric="${metric.name}"]`);

  #clicked(button) {
    const metric = this.numbers.find(({ name }) => name === button?.dataset.metric);
    if (metric) this.#choose(metric);
    if (!button?.dataset.seconds) return;
    this.#seconds = Number(button.dataset.seconds);
    press(this.querySelectorAll("[data-seconds]"), button);
    this.#times = [];
    this.#load();
  }

  #choose(metric) {
    this.metric = metric;
    press(this.querySelectorAll("[data-metric]"), this.tile(metric));
    this.find("#chart-title").textContent = metric.label;
    this.chart?.destroy();
    this.chart = new uPlot(options(metric, this.plot, (index) => this.#read(index)), [[], []], this.plot);
    this.chart.setSize(this.#size());
    this.#draw();
  }

  #size() {
    return { width: this.plot.clientWidth || 600, height: HEIGHT };
  }

  async #load() {
    if (!this.metric) return;
    const asked = (this.#fetched = now());
    if (!this.#times.length) this.#phase = "loading";
    this.#draw();
    try {
      const answer = await fetch(`${this.dataset.series}?seconds=${this.#seconds}`);
      if (asked !== this.#fetched) return; // a newer question is on its way
      if (answer.status === 401 || answer.status === 403) return location.reload();
      if (!answer.ok) throw new Error(answer.statusText);
      const series = await answer.json();
      if (asked !== this.#fetched) return;
      [this.#times, this.#step, this.#phase] = [series.times, series.step_ms, "live"];
      this.#values = { ...series.values, ...ended(series.lows, LOW), ...ended(series.highs, HIGH) };
    } catch {
      if (asked !== this.#fetched) return;
      this.#phase = "failed";
      setTimeout(() => asked === this.#fetched && this.#load(), 4000 + Math.random() * 2000);
    }
    this.#draw();
  }

  #changed({ device, reading: newest }) {
    if (device !== this.dataset.device || !newest) return;
    if (newest.ts <= this.newest) return; // shown already: the socket begins with the newest state
    if (!this.metrics.length) return location.reload(); // the first reading ever: now there is something to draw
    if (String(newest.schema) !== this.dataset.schema) this.#phase = "changed";
    if (this.#phase === "changed") return this.#tell();
    [this.newest, this.heard] = [newest.ts, now()];
    for (const metric of this.metrics) {
      const index = this.numbers.indexOf(metric);
      const value = index < 0 ? newest.extra?.[metric.name] : newest.metrics[index];
      this.find(`#value-${metric.name}`).textContent = reading(value, metric.kind);
    }
    this.#append(newest);
    this.#draw();
  }

  #append({ ts, metrics }) {
    const last = this.#times.at(-1) ?? 0;
    if (this.#phase !== "live" || ts <= last) return;
    const full = ts - last >= this.#step;
    if (full) this.#times.push(ts);
    this.numbers.forEach(({ name }, index) => {
      const value = metrics[index] ?? null;
      this.#put(name, value, full, (_, next) => next);
      this.#put(name + LOW, value, full, Math.min);
      this.#put(name + HIGH, value, full, Math.max);
    });
    while (this.#times[0] < now() - this.#seconds * 1050) {
      this.#times.shift();
      for (const values of Object.values(this.#values)) values.shift();
    }
    if (full && this.#step > 2000 && now() - this.#fetched > RELOAD) this.#load();
  }

  #put(name, value, full, merge) {
    const last = this.#times.length - 1;
    const values = (this.#values[name] ??= Array(last).fill(null));
    const before = full ? null : (values[last] ?? null);
    values[last] = before === null || value === null ? (value ?? before) : merge(before, value);
  }

  #draw() {
    const [xs, ys] = gapped(this.#times, this.#values[this.metric.name] ?? [], this.#step);
    const max = Math.max(now(), xs.at(-1) ?? 0);
    const min = max - this.#seconds * 1000;
    this.chart.batch(() => {
      this.chart.setData([xs, ys], false);
      this.chart.setScale("x", { min, max });
    });
    const shown = (end) =>
      (this.#values[this.metric.name + end] ?? []).filter((value, index) => value !== null && this.#times[index] >= min);
    this.#sum(shown(""), shown(LOW), shown(HIGH));
    this.#tell();
  }

  // Extremes are those of the readings, not of the averages drawn: a short excursion must not vanish in a long range.
  #sum(known, lows, highs) {
    const mean = known.reduce((sum, value) => sum + value, 0) / known.length;
    const yes = this.metric.kind === "boolean";
    const [low, high] = [Math.min(...lows), Math.max(...highs)].map((value) => this.#text(known.length ? value : null));
    const sums = { low, mean: this.#text(known.length ? mean : null), high };
    if (yes) sums.mean = known.length ? `${Math.round(mean * 100)} % Yes` : "—";
    for (const [name, text] of Object.entries(sums)) {
      const place = this.find(`[data-sum=${name}]`);
      place.textContent = text;
      place.parentElement.hidden = yes && name !== "mean";
    }
    this.find(".chart-step").textContent = this.#step > 2000 ? `Each point is the average of ${span(this.#step)}.` : "";
    const range = this.find("[data-seconds][aria-pressed=true]").getAttribute("aria-label");
    const told = known.length ? (yes ? sums.mean : `lowest ${low}, highest ${high}`) : "no readings";
    this.plot.setAttribute("aria-label", `${this.metric.label}, last ${range}: ${told}`);
    const note = this.find(".plot-note");
    note.hidden = known.length > 0 || this.#phase !== "live";
    note.textContent = `No readings in the last ${range}.`;
  }

  #tell() {
    const silent = now() - this.heard;
    let state = live.state in STATES ? live.state : this.#phase;
    if (state === "live" && silent > this.dataset.silence * 500) state = "quiet";
    if (state === "live" && !this.#times.length) state = "empty";
    const place = this.find(".chart-state");
    if (!place) return;
    this.find(".chart").setAttribute("aria-busy", this.#phase === "loading");
    if (place.dataset.state !== state) {
      place.dataset.state = state;
      place.firstElementChild.textContent = STATES[state];
    }
    place.lastElementChild.textContent = state === "quiet" ? `for ${span(silent)}` : "";
  }

  #read(index) {
    const { data } = this.chart ?? {};
    const value = index === null || index === undefined ? null : data?.[1][index];
    const text = value === null || value === undefined ? "" : `${this.#text(value)} · ${moment(data[0][index])}`;
    this.find(".readout").textContent = text;
  }

  #text(value) {
    return [reading(value, this.metric.kind === "boolean" ? "boolean" : "number"), value !== null && this.metric.unit].filter(Boolean).join(" ");
  }

  #walk(event) {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const [xs, ys] = this.chart.data;
    if (!by || !xs.length) return;
    event.preventDefault();
    let index = this.chart.cursor.idx ?? (by < 0 ? xs.length : -1);
    do index += by; while (ys[index] === null);
    if (ys[index] === undefined) return;
    const value = ys[index];
    this.chart.setCursor({ left: this.chart.valToPos(xs[index], "x"), top: this.chart.valToPos(value, "y") });
  }
}

function ended(series, end) {
  return Object.fromEntries(Object.entries(series).map(([name, values]) => [name + end, values]));
}

function press(buttons, chosen) {
  for (const button of buttons) button.setAttribute("aria-pressed", button === chosen);
}

// A silence much longer than usual is drawn as a gap: a line through it would be invented.
function gapped(times, values, step) {
  const points = times.map((time, index) => [time, values[index] ?? null]).filter(([, value]) => value !== null);
  const waits = points.slice(1).map(([time], index) => time - points[index][0]).sort((a, b) => a - b);
  const limit = 2.5 * Math.max(waits[waits.length >> 1] ?? 0, step, 1000);
  const [xs, ys] = [[], []];
  for (const [time, value] of points) {
    if (xs.length && time - xs.at(-1) > limit) xs.push((time + xs.at(-1)) / 2), ys.push(null);
    xs.push(time), ys.push(value);
  }
  return [xs, ys];
}

// Colours come from the stylesheet at every drawing, so that a change of theme needs no code.
function options(metric, plot, read) {
  const style = (name) => () => getComputedStyle(plot)[name];
  const yes = metric.kind === "boolean";
  const axis = { stroke: style("color"), font: "12px system-ui, sans-serif", grid: { stroke: style("outlineColor"), width: 1 }, ticks: { show: false } };
  return {
    width: 600, height: HEIGHT, ms: 1, legend: { show: false }, padding: [10, 20, 0, 0],
    cursor: { drag: { x: false, y: false }, points: { size: 8 } },
    scales: { y: { range: yes ? [-0.1, 1.1] : undefined } },
    hooks: { setCursor: [({ cursor }) => read(cursor.idx)] },
    axes: [
      { ...axis, space: 90, size: 30, values: (_, ticks, __, ___, step) => ticks.map((time) => tick(time, step / 1000)) },
      {
        ...axis, size: 62,
        splits: yes ? () => [0, 1] : undefined,
        values: (_, ticks) => ticks.map((value) => (yes ? (value ? "Yes" : "No") : value.toLocaleString("en"))),
      },
    ],
    series: [{}, {
      stroke: style("stroke"), fill: style("fill"), width: 2, points: { show: false },
      paths: yes ? uPlot.paths.stepped({ align: 1 }) : undefined,
    }],
  };
}

customElements.define("live-chart", LiveChart);
