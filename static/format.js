// How values and moments are written in the browser; devices/templatetags/fleet.py writes them so on the server.

const stamp = document.querySelector("[data-now]")?.dataset.now;
const skew = stamp ? stamp * 1000 - Date.now() : 0; // ages are by the server's clock: the viewer's may be wrong

export const now = () => Date.now() + skew;

const fixed = (value, digits) =>
  value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });

export function reading(value, kind) {
  if (value === null || value === undefined || value === "") return "—";
  if (kind === "text") return String(value);
  if (kind === "boolean") return value ? "Yes" : "No";
  const size = Math.abs(value);
  if (kind === "integer" || size >= 1000 || size === 0) return fixed(value, 0);
  if (size < 1) return String(Number(value.toPrecision(3)));
  return fixed(value, size >= 100 ? 1 : 2);
}

const UNITS = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];

export function span(milliseconds) {
  const seconds = Math.max(0, Math.round(milliseconds / 1000));
  const [unit, size] = UNITS.find(([, size]) => seconds >= size) ?? ["s", 1];
  return `${Math.floor(seconds / size)} ${unit}`;
}

export const ago = (milliseconds) => (now() - milliseconds < 1500 ? "just now" : `${span(now() - milliseconds)} ago`);

const full = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const short = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const seconds = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
const minutes = new Intl.DateTimeFormat(undefined, { timeStyle: "short" });
const days = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric" });

export const moment = (milliseconds) => full.format(milliseconds);
export const minute = (milliseconds) => short.format(milliseconds);

// Labels of a time axis whose ticks are `step` seconds apart.
export function tick(milliseconds, step) {
  if (step < 60) return seconds.format(milliseconds);
  const date = new Date(milliseconds);
  return date.getHours() + date.getMinutes() === 0 ? days.format(date) : minutes.format(date);
}
