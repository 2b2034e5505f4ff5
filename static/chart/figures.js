// What a chart shows, as a table: for those who do not see it, and for whoever wants to copy a figure.

import { moment, reading, row as brief, span } from "../format.js";
import { stretches } from "./data.js";
import { told } from "./words.js";

const ROWS = 24;
const PAUSE = 30_000; // not with each reading: somebody may be reading it, or hearing it read

// `place` is a <details>: the table is made while it is open.
export class Figures {
  #made = { data: null, at: -Infinity };
  #last = null;

  constructor(place, now) {
    [this.place, this.now] = [place, now];
    place.addEventListener("toggle", () => this.#last && this.show(...this.#last));
  }

  show(data, min, max) {
    this.#last = [data, min, max];
    if (!this.place.open) this.#made.data = null;
    else if (this.#made.data !== data || this.now() - this.#made.at > PAUSE) this.#make(data, min, max);
  }

  #make(data, min, max) {
    this.#made = { data, at: this.now() };
    const { width, rows } = stretches(data, min, max, ROWS);
    const [first] = data.lines;
    const one = data.lines.length === 1;
    const yes = one && first.kind === "boolean";
    const heads = !one ? data.lines.map(({ label }) => label) : yes ? ["How much of it"] : ["Average", "Lowest", "Highest"];
    const cells = ({ lines }) => lines.flatMap((found, index) => {
      if (!one || yes) return [told(data.lines[index], found).mean];
      return [found.mean, found.low, found.high].map((value) => reading(value, "number"));
    });
    const when = width < 60_000 ? moment : brief;
    const table = document.createElement("table");
    const about = !one ? "Averages" : yes || !first.unit ? first.label : `${first.label} in ${first.unit}`;
    table.append(
      element("caption", rows.length ? `${about}, in steps of ${span(width)}` : "No readings."),
      part("thead", [["Time", ...heads].map((words) => element("th", words, "col"))]),
      part("tbody", rows.map((row) => [element("th", when(row.at), "row"), ...cells(row).map((words) => element("td", words))])),
    );
    this.place.querySelector("div").replaceChildren(table);
  }
}

function element(name, words, scope) {
  const made = document.createElement(name);
  made.textContent = words;
  if (scope) made.scope = scope;
  return made;
}

function part(name, rows) {
  const made = document.createElement(name);
  for (const cells of rows) made.insertRow().append(...cells);
  return made;
}
