// Which part of the past is shown: so many seconds back from now, or from one moment to another (epoch ms).

import { fromWall, minute, now, span } from "../format.js";

export const LEAST = 10_000;
export const MOST = 3660 * 86_400_000;

export const rolling = (seconds, words) => ({ seconds, words: `last ${words}`, none: `in the last ${words}` });

export function fixed(since, until) {
  const words = `${minute(since)} to ${minute(until)}`;
  return { since: Math.round(since), until: Math.round(until), words, none: `from ${words}` };
}

export const length = (range) => range.seconds * 1000 || range.until - range.since;

export function bounds(range, newest = 0) {
  if (!range.seconds) return [range.since, range.until];
  const max = Math.max(now(), newest);
  return [max - range.seconds * 1000, max];
}

export function asked(range) {
  return range.seconds ? `seconds=${range.seconds}` : `since=${range.since}&until=${range.until}`;
}

// For the page of exports: the days (UTC, as there) on which the range begins and ends.
export function exported(range, devices) {
  const [first, last] = bounds(range).map((at) => new Date(at).toISOString().slice(0, 10));
  return new URLSearchParams([...devices.map((id) => ["device", id]), ["first", first], ["last", last]]);
}

// Around its middle (or another moment), so many times as long; null where that cannot be drawn.
export function zoomed(range, factor, at) {
  const [min, max] = bounds(range);
  const middle = at ?? (min + max) / 2;
  const [since, until] = [middle - (middle - min) * factor, Math.min(now(), middle + (max - middle) * factor)];
  return until - since < LEAST || until - since > MOST ? null : fixed(since, until);
}

// What two such inputs say; complains at the second where they make no range.
export function typed(from, to) {
  const [since, until] = [from, to].map((input) => fromWall(input.value));
  const wrong = until - since < LEAST ? "It must be later than the beginning." : until - since > MOST ? `At most ${span(MOST)}.` : "";
  to.setCustomValidity(wrong);
  return to.reportValidity() && from.reportValidity() ? fixed(since, until) : null;
}
