// <live-chart>: a device's newest values as tiles and a chart of chosen ones, a moment after the device spoke; over any
// range of the past, beside other devices, before what was usual.

import { read, write } from "./chart/address.js";
import { Compare } from "./chart/compare.js";
import { append, EMPTY, held, sums } from "./chart/data.js";
import { Figures } from "./chart/figures.js";
import { marksIn, spoken } from "./chart/marks.js";
import { HEIGHT, main, make, nearest, table } from "./chart/plot.js";
import { asked, bounds, exported, fixed, LEAST, length, rolling, typed, zoomed } from "./chart/range.js";
import { entry, notes, readout, summary, told } from "./chart/words.js";
import { now, reading, span, wall, zone } from "./format.js";
import { live } from "./socket.js";

const RELOAD = 60_000; // averages of long ranges are fetched again when a bucket is full, at most this often
const BESIDE = 5_000; // other devices are fetched again, at most this often, where the socket cannot tell of one
const AHEAD = 60_000; // as the server: a clock further ahead than this is wrong
const USUAL_RANGE = 900;
const ZOOMS = { "+": 0.5, "=": 0.5, "-": 2 };
const STATES = {
  loading: "Loading", live: "Live", quiet: "No data", empty: "No data", failed: "Could not load, trying again",
  lost: "Connection lost, reconnecting", stale: "Updates are delayed", refused: "Signed out: reload the page",
  changed: "The device speaks a new schema: reload the page", past: "Past", wrong: "Cannot be drawn",
};
const NOTES = { wrong: "This cannot be drawn any more.", failed: "This could not be loaded. It is tried again by itself." };

class LiveChart extends HTMLElement {
  #data = EMPTY;
  #range = rolling(USUAL_RANGE, "15 minutes");
  #before = []; // ranges to go back to from a zoom
  #phase = "loading";
  #fetched = 0;
  #band = null; // null: not wanted; what the server said otherwise
  #usual = false;
  #spoken = null; // the data that the chart's label tells of
  #unheard = false; // a device on the chart speaks another version of the schema: it is fetched
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
    live.watch([this.dataset.device]);
    if (!this.numbers.length) return;
    this.find(".chart").hidden = false;
    this.plot = this.find(".plot");
    this.figures = new Figures(this.find(".chart-figures"), now);
    this.compare = new Compare(this.find(".compare"), this.dataset.comparable, () => this.#begin());
    this.addEventListener("click", ({ target }) => this.#clicked(target.closest("button")), { signal });
    this.find(".custom").addEventListener("submit", (event) => this.#custom(event), { signal });
    this.find(".custom").addEventListener("input", () => this.find("[name=to]").setCustomValidity(""), { signal });
    this.plot.addEventListener("keydown", (event) => this.#key(event), { signal });
    this.plot.addEventListener("blur", () => this.chart.setCursor({ left: -10, top: -10 }), { signal });
    for (const metric of this.numbers) this.tile(metric).disabled = false;
    this.find("[data-do=several]").hidden = this.numbers.length < 2;
    this.find(".custom-zone").textContent = zone === "UTC" ? "Times are in UTC." : `Times are of ${zone.replaceAll("_", " ")}.`;
    this.sizes = new ResizeObserver(() => this.plot.clientWidth && this.chart?.setSize({ width: this.plot.clientWidth, height: HEIGHT }));
    this.sizes.observe(this.plot);
    this.clock = setInterval(() => this.#second(), 1000);
    this.#restore();
    this.#begin();
  }

  // As the address says; what it names and is not there is left out.
  #restore() {
    const spans = [...this.querySelectorAll("[data-seconds]")].map((each) => [Number(each.dataset.seconds), each.getAttribute("aria-label")]);
    const asked = read(new Map(spans));
    const named = this.numbers.filter(({ name }) => asked.metrics.includes(name));
    const [several, usual] = ["several", "usual"].map((name) => this.find(`[data-do=${name}]`));
    this.chosen = named.length ? twoUnits(named) : [this.numbers[0]];
    press([several], this.chosen.length > 1 ? several : null);
    this.compare.restore(asked.devices.filter((id) => id !== this.dataset.device));
    this.#usual = asked.usual;
    press([usual], asked.usual ? usual : null);
    if (asked.range) this.#range = asked.range;
    this.#pressRange();
  }

  disconnectedCallback() {
    this.#signals.abort();
    this.sizes?.disconnect();
    clearInterval(this.clock);
    this.chart?.destroy();
  }

  find = (selector) => this.querySelector(selector);
  tile = (metric) => this.find(`[data-metric="${metric.name}"]`);
  get several() { return this.find("[data-do=several]").getAttribute("aria-pressed") === "true"; }
  get beside() { return this.compare.chosen.size > 0; }

  // The lines that are wanted: metrics of this device, or one metric of several devices.
  get lines() {
    const [metric] = this.chosen;
    if (!this.beside) return this.chosen.map((each) => ({ ...each, key: each.name }));
    const names = [[this.dataset.device, this.dataset.name], ...this.compare.chosen];
    return names.map(([key, label]) => ({ ...metric, key, label }));
  }

  #clicked(button) {
    if (!button) return;
    const metric = this.numbers.find(({ name }) => name === button.dataset.metric);
    if (metric) this.#choose(metric);
    const { seconds } = button.dataset;
    if (seconds) this.#show(rolling(Number(seconds), button.getAttribute("aria-label")));
    const acts = {
      back: () => this.#back(), several: () => this.#toggleSeveral(button), usual: () => this.#toggleUsual(button),
      custom: () => this.#open(button, ".custom", "[name=from]"), compare: () => this.#open(button, ".compare", "input"),
    };
    acts[button.dataset.do]?.();
  }

  // Alone it is the one drawn; with several at once it comes or goes. More than two units have no room for axes.
  #choose(metric) {
    if (!this.several) this.chosen = [metric];
    else if (!this.chosen.includes(metric)) this.chosen = twoUnits([...this.chosen, metric]);
    else if (this.chosen.length > 1) this.chosen = this.chosen.filter((each) => each !== metric);
    this.#begin();
  }

  #toggleSeveral(button) {
    press([button], this.several ? null : button);
    if (this.several) this.compare.clear();
    else this.chosen = this.chosen.slice(0, 1);
    this.#begin();
  }

  #toggleUsual(button) {
    this.#usual = !this.#usual;
    press([button], this.#usual ? button : null);
    this.#begin();
  }

  #open(button, panel, first) {
    const place = this.find(panel);
    place.hidden = !place.hidden;
    button.setAttribute("aria-expanded", !place.hidden);
    if (place.hidden) return;
    if (panel === ".compare") this.compare.search();
    else [this.find("[name=from]").value, this.find("[name=to]").value] = bounds(this.#range).map(wall);
    place.querySelector(first).focus();
  }

  #custom(event) {
    event.preventDefault();
    const range = typed(this.find("[name=from]"), this.find("[name=to]"));
    if (range) this.#show(range);
  }

  #show(range, before = []) {
    [this.#range, this.#before] = [range, before];
    this.#pressRange();
    this.find("[data-do=back]").hidden = !before.length;
    this.#begin();
  }

  #pressRange() {
    for (const button of this.querySelectorAll("[data-seconds]")) {
      button.setAttribute("aria-pressed", Number(button.dataset.seconds) === this.#range.seconds);
    }
  }

  #zoom(range) {
    if (range && length(range) >= LEAST) this.#show(range, [...this.#before, this.#range]);
  }

  #back() {
    const focused = this.find("[data-do=back]") === document.activeElement;
    const before = [...this.#before];
    this.#show(before.pop(), before);
    if (focused && !before.length) this.plot.focus();
  }

  // Something else is to be drawn: what is there stays, dimmed, until it comes.
  #begin() {
    const { lines } = this;
    if (this.beside) [this.chosen, this.#phase] = [this.chosen.slice(0, 1), "loading"];
    if (this.beside) press([this.find("[data-do=several]")], null);
    press(this.querySelectorAll("[data-metric]"), ...this.chosen.map(this.tile));
    this.find("#chart-title").textContent = this.chosen.map((each) => each.label).join(", ");
    const usual = this.find("[data-do=usual]");
    usual.disabled = lines.length > 1 || lines[0].kind === "boolean";
    if (this.compare.metric !== this.chosen[0]) this.compare.about(this.chosen[0]);
    const [metrics, devices] = [this.chosen.map(({ name }) => name), [...this.compare.chosen.keys()]];
    write({ range: this.#range, metrics, devices, usual: this.#usual }, USUAL_RANGE, this.numbers[0].name);
    this.find("[data-do=export]").search = exported(this.#range, [this.dataset.device, ...devices]);
    live.watch(devices);
    this.#unheard = false;
    this.#data = EMPTY;
    this.#band = null;
    this.#load();
  }

  get #wantsBand() {
    return this.#usual && !this.find("[data-do=usual]").disabled;
  }

  async #load() {
    if (!this.chosen) return;
    const question = (this.#fetched = now());
    const asked = this.lines;
    if (this.#data === EMPTY) this.#phase = "loading";
    this.#tell();
    try {
      const usual = this.#wantsBand ? this.#ask(this.#address(asked, this.dataset.band)) : null;
      const [series, band] = await Promise.all([this.#ask(this.#address(asked)), usual]);
      if (question !== this.#fetched) return; // a newer question is on its way
      if (series.names) this.compare.name(series.names);
      [this.#data, this.#band, this.#phase] = [held(series, this.lines), band, this.#range.seconds ? "live" : "past"];
      this.#build();
    } catch (error) {
      if (question !== this.#fetched) return;
      this.#phase = error.status === 400 || error.status === 404 ? "wrong" : "failed";
      if (this.#phase === "failed") setTimeout(() => question === this.#fetched && this.#load(), 4000 + Math.random() * 2000);
    }
    this.#draw();
  }

  #address(lines, band = "") {
    const metrics = this.chosen.map(({ name }) => `metric=${name}`).join("&");
    const devices = this.beside && !band ? lines.map(({ key }) => `device=${key}`).join("&") : "";
    return `${band || (devices ? this.dataset.comparison : this.dataset.series)}?${asked(this.#range)}&${metrics}&${devices}`;
  }

  async #ask(address) {
    const answer = await fetch(address);
    if (answer.status === 401 || answer.status === 403) location.reload();
    if (!answer.ok) throw Object.assign(new Error(answer.statusText), { status: answer.status });
    return answer.json();
  }

  #changed({ device, reading: newest }) {
    if (!newest) return;
    if (device !== this.dataset.device) return this.#other(device, newest);
    const older = newest.ts <= this.newest;
    // Shown already: the socket begins with the newest state. What came of a clock that was ahead hides nothing.
    if (older && (this.newest <= now() + AHEAD || newest.ts === this.newest)) return;
    if (!this.metrics.length) return location.reload(); // the first reading ever: now there is something to draw
    if (String(newest.schema) !== this.dataset.schema) this.#phase = "changed";
    if (this.#phase === "changed") return this.#tell();
    [this.newest, this.heard] = [newest.ts, now()];
    for (const metric of this.metrics) {
      const index = this.numbers.indexOf(metric);
      const value = index < 0 ? newest.extra?.[metric.name] : newest.metrics[index];
      this.find(`#value-${metric.name}`).textContent = reading(value, metric.kind);
    }
    if (this.#phase !== "live") return this.#tell();
    if (older) return this.#load(); // its clock was set right: what lay in the future leaves the chart
    const at = (name) => newest.metrics[this.numbers.findIndex((metric) => metric.name === name)];
    const [metric] = this.chosen;
    this.#append(newest.ts, ({ key }) => (!this.beside ? at(key) : key === device ? at(metric.name) : null));
  }

  // Another device on the chart spoke.
  #other(device, { ts, schema, metrics }) {
    if (!this.compare?.chosen.has(device) || this.#phase !== "live") return;
    if (String(schema) !== this.dataset.schema) this.#unheard = true;
    else this.#append(ts, ({ key }) => (key === device ? metrics[this.numbers.indexOf(this.chosen[0])] : null));
  }

  #append(ts, value) {
    const full = append(this.#data, ts, value, now() - this.#range.seconds * 1050);
    if (full && this.#data.step > 2000 && now() - this.#fetched > RELOAD) this.#load();
    this.#draw();
  }

  #second() {
    const wait = Math.max(BESIDE, Math.min(this.#data.step, RELOAD));
    if (this.#unheard && this.#phase === "live" && now() - this.#fetched > wait && !document.hidden) this.#load();
    this.#draw();
  }

  // The legend names the lines and lends them its colours.
  #build() {
    const { lines } = this.#data;
    const usual = this.#band?.times.length > 0;
    const items = lines.map(({ label }, index) => entry(label, index + 1));
    if (this.#wantsBand) items.push(entry(usual ? "Usual at this time of day" : this.#band.reason, usual ? "usual" : "none"));
    if (usual && this.#band.outside.length) items.push(entry("Unusual", "outside"));
    const legend = this.find(".legend");
    const shape = items.map((each) => each.className + each.textContent).join() + lines.map((line) => line.unit + line.kind);
    if (shape === this.shape) return;
    this.shape = shape;
    legend.replaceChildren(...items);
    legend.hidden = items.length < 2;
    this.chart?.destroy();
    const swatches = items.slice(0, lines.length + (usual ? 1 : 0)).map((each) => each.firstElementChild);
    const on = {
      cursor: (index) => this.#read(index), zoom: (since, until) => this.#zoom(fixed(since, until)), marks: () => this.marks ?? [],
    };
    this.chart = make(this.plot, lines, swatches, usual, on);
  }

  #draw() {
    this.#tell();
    if (!this.chart || this.#data === EMPTY) return;
    const band = this.#band?.times.length ? this.#band : null;
    const [min, max] = bounds(this.#range, this.#data.times.at(-1));
    this.main = main(this.#data.lines, band);
    this.marks = marksIn(this.find(".chart-marks"), min, max);
    this.chart.batch(() => {
      this.chart.setData(table(this.#data, band), false);
      this.chart.setScale("x", { min, max });
    });
    this.#sum(min, max);
    this.figures.show(this.#data, min, max);
  }

  #sum(min, max) {
    const { lines } = this.#data;
    const found = sums(this.#data, min, max);
    const words = told(lines[0], found);
    this.find(".chart-sums").hidden = lines.length > 1;
    for (const place of this.querySelectorAll("[data-sum]")) {
      place.textContent = words[place.dataset.sum] ?? "";
      place.parentElement.hidden = !place.textContent;
    }
    this.find(".chart-step").textContent = found ? notes(this.#data) : "";
    if (this.#spoken === this.#data && this.plot === document.activeElement) return; // no chatter with each reading
    this.#spoken = this.#data;
    this.plot.setAttribute("aria-label", summary(lines, found, this.#range, spoken(this.marks)));
  }

  #tell() {
    const silent = now() - this.heard;
    let state = live.state in STATES && this.#phase !== "past" ? live.state : this.#phase;
    if (state === "live" && silent > this.dataset.silence * 500) state = "quiet";
    if (state === "live" && !this.#data.times.length) state = "empty";
    const place = this.find(".chart-state");
    if (!place) return;
    this.find(".chart").setAttribute("aria-busy", this.#phase === "loading");
    if (place.dataset.state !== state) {
      place.dataset.state = state;
      place.firstElementChild.textContent = STATES[state];
    }
    place.lastElementChild.textContent = state === "quiet" ? `for ${span(silent)}` : "";
    // What is drawn is of another range or device than is asked for: it must not be taken for the answer.
    this.find(".chart").toggleAttribute("data-before", this.#data === EMPTY);
    const none = (this.#phase === "live" || this.#phase === "past") && !this.#data.times.length;
    const note = this.find(".plot-note");
    const words = none ? `No readings ${this.#range.none}.` : NOTES[this.#phase] ?? "";
    if (note.textContent !== words) note.textContent = words;
    note.hidden = !words;
  }

  #read(index) {
    const { data } = this.chart ?? {};
    const shown = index !== null && index !== undefined && this.main && data?.[this.main];
    const at = shown && nearest(data[this.main], index);
    const { lines } = this.#data;
    const words = shown ? readout(lines, lines.map((_, place) => data[this.main + place][at]), data[0][at]) : "";
    const place = this.find(".readout");
    if (place.textContent !== words) place.textContent = words; // what does not change is not said again
  }

  #key(event) {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const { idx } = this.chart?.cursor ?? {};
    const [xs] = this.chart?.data ?? [[]];
    if (event.ctrlKey || event.metaKey || event.altKey || !this.main) return;
    if (ZOOMS[event.key]) this.#zoom(zoomed(this.#range, ZOOMS[event.key], xs[idx]));
    else if (event.key === "Escape" && this.#before.length) this.#back();
    else if (by) this.#walk(xs, by, idx);
    else return;
    event.preventDefault();
  }

  #walk(xs, by, from) {
    const ys = this.chart.data[this.main];
    let index = from ?? (by < 0 ? xs.length : -1);
    do index += by; while (index >= 0 && index < ys.length && (ys[index] === null || ys[index] === undefined));
    if (ys[index] === undefined || ys[index] === null) return;
    const scale = this.chart.series[this.main].scale;
    this.chart.setCursor({ left: this.chart.valToPos(xs[index], "x"), top: this.chart.valToPos(ys[index], scale) });
  }
}

// The newest choices win: metrics of the last two units stay.
function twoUnits(metrics) {
  const unit = (metric) => (metric.kind === "boolean" ? "yes" : metric.unit);
  const kept = [...new Set(metrics.map(unit).reverse())].slice(0, 2);
  return metrics.filter((metric) => kept.includes(unit(metric)));
}

function press(buttons, ...chosen) {
  for (const button of buttons) button.setAttribute("aria-pressed", chosen.includes(button));
}

customElements.define("live-chart", LiveChart);
