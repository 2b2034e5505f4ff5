// What a chart shows, kept in the page's address: it can be shared, and survives a reload.

import { fixed, LEAST, MOST, rolling } from "./range.js";

const NAMES = ["range", "since", "until", "metric", "with", "usual"];
const MOST_BESIDE = 9;

// `spans` are the ranges there are buttons for: seconds → words.
export function read(spans) {
  const asked = new URLSearchParams(location.search);
  const [seconds, since, until] = ["range", "since", "until"].map((name) => Number(asked.get(name)));
  const whole = [since, until].every(Number.isSafeInteger) && until - since >= LEAST && until - since <= MOST && since > 0;
  return {
    range: whole ? fixed(since, until) : spans.has(seconds) ? rolling(seconds, spans.get(seconds)) : null,
    metrics: asked.getAll("metric"),
    devices: [...new Set(asked.getAll("with"))].filter((id) => /^[\w-]{1,63}$/.test(id)).slice(0, MOST_BESIDE),
    usual: asked.has("usual"),
  };
}

// What is usual anyway is left out. Other parts of the address stay as they are.
export function write({ range, metrics, devices, usual }, usualRange, usualMetric) {
  const url = new URL(location.href);
  for (const name of NAMES) url.searchParams.delete(name);
  if (!range.seconds) for (const name of ["since", "until"]) url.searchParams.set(name, range[name]);
  else if (range.seconds !== usualRange) url.searchParams.set("range", range.seconds);
  if (metrics.length !== 1 || metrics[0] !== usualMetric) for (const name of metrics) url.searchParams.append("metric", name);
  for (const id of devices) url.searchParams.append("with", id);
  if (usual) url.searchParams.set("usual", "1");
  if (url.href !== location.href) history.replaceState(history.state, "", url);
}
