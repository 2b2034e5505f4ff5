// What stands around a chart: figures, notes, legend.

import { moment, reading, span } from "../format.js";

export function text({ kind, unit }, value) {
  const known = value !== null && value !== undefined;
  return [reading(value, kind === "boolean" ? "boolean" : "number"), known && unit].filter(Boolean).join(" ");
}

// Lowest, average and highest; of yes and no only how much was yes.
export function told(line, found) {
  if (line.kind === "boolean") return { mean: found ? `${Math.round(found.mean * 100)} % Yes` : "—" };
  return { low: text(line, found?.low), mean: text(line, found?.mean), high: text(line, found?.high) };
}

export function notes({ step, leftOut }) {
  const found = leftOut.map(({ unit }) => `Values in ${unit || "no unit"} of another schema version are left out.`);
  return [step > 2000 && `Each point is the average of ${span(step)}.`, ...found].filter(Boolean).join(" ");
}

// For those who do not see it.
export function summary(lines, found, range, more = "") {
  const words = told(lines[0], found);
  const figures = !found ? "no readings" : words.low ? `lowest ${words.low}, highest ${words.high}` : words.mean;
  return `${lines.map(({ label }) => label).join(", ")}, ${range.words}${lines.length > 1 ? "" : `: ${figures}`}${more}`;
}

// The values at one time, with their lines' names where there are several.
export function readout(lines, values, time) {
  const found = lines.map((line, place) => [line, values[place]]).filter(([, value]) => value !== null && value !== undefined);
  const words = found.map(([line, value]) => `${lines.length > 1 ? `${line.label} ` : ""}${text(line, value)}`);
  return [...words, moment(time)].join(" · ");
}

// An item of the legend; the chart takes its colours from the swatch.
export function entry(label, swatch) {
  const item = document.createElement("li");
  const colour = document.createElement("span");
  colour.className = `swatch swatch-${swatch}`;
  item.append(colour, label);
  return item;
}
