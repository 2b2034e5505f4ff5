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

const timeZone = document.querySelector("[data-timezone]")?.dataset.timezone; // what somebody chose; else the browser's
const format = (options) => new Intl.DateTimeFormat(undefined, { ...options, timeZone });
const full = format({ dateStyle: "medium", timeStyle: "medium" });
const short = format({ dateStyle: "medium", timeStyle: "short" });
const thisYear = format({ month: "short", day: "numeric", hour: "numeric", minute: "2-digit" });
const seconds = format({ timeStyle: "medium" });
const minutes = format({ timeStyle: "short" });
const days = format({ month: "short", day: "numeric" });
const daysOfYears = format({ month: "short", day: "numeric", year: "numeric" });
const months = format({ month: "short", year: "numeric" });
const year = new Intl.DateTimeFormat("en", { year: "numeric", timeZone });
const midnight = new Intl.DateTimeFormat("en", { hour: "2-digit", minute: "2-digit", hourCycle: "h23", timeZone });

export const moment = (milliseconds) => full.format(milliseconds);
export const clock = (milliseconds) => minutes.format(milliseconds);
export const minute = (milliseconds) => short.format(milliseconds);

// What a clock on the viewer's wall shows, as <input type="datetime-local"> writes it; and the moment at which it does.
export const zone = full.resolvedOptions().timeZone;
const parts = new Intl.DateTimeFormat("en", {
  year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", hourCycle: "h23", timeZone,
});

export function wall(milliseconds) {
  const { year, month, day, hour, minute } = Object.fromEntries(parts.formatToParts(milliseconds).map((part) => [part.type, part.value]));
  return `${year.padStart(4, "0")}-${month}-${day}T${hour}:${minute}`;
}

// Twice: near a change of the clocks, the first guess may have taken the offset of the other side.
export function fromWall(text) {
  const wanted = Date.parse(`${text}Z`);
  if (Number.isNaN(wanted)) return NaN;
  const closer = (guess) => guess + wanted - Date.parse(`${wall(guess)}Z`);
  return closer(closer(wanted));
}

const isThisYear = (milliseconds) => year.format(milliseconds) === year.format(now());

// In a column of moments the year is said where it is another.
export const row = (milliseconds) => (isThisYear(milliseconds) ? thisYear : short).format(milliseconds);

const DAY = 86_400;
const MONTH = 28 * DAY;

// Labels of a time axis whose ticks are `step` seconds apart; with the year where it is not this one, or may not be.
export function tick(milliseconds, step) {
  if (step < 60) return seconds.format(milliseconds);
  if (step >= MONTH) return months.format(milliseconds);
  if (step < DAY && midnight.format(milliseconds) !== "00:00") return minutes.format(milliseconds);
  return (isThisYear(milliseconds) ? days : daysOfYears).format(milliseconds);
}
