// Keeps a server-rendered page true: ages, connection badges, newest values, and parts marked data-refresh.

import { ago, minute, moment, now, reading } from "./format.js";
import { live } from "./socket.js";

const STATES = {
  open: "Live", stale: "Updates are delayed", lost: "Connection lost, reconnecting", refused: "Signed out: reload the page",
};
const REFRESH = 30_000;

function tell() {
  for (const time of document.querySelectorAll("time[data-ago]")) {
    const at = Date.parse(time.dateTime);
    const text = ago(at);
    if (time.textContent !== text) time.textContent = text;
    time.title = moment(at);
  }
  for (const time of document.querySelectorAll("time[data-at]")) time.textContent = minute(Date.parse(time.dateTime));
}

function apply({ device, reading: newest, presence }) {
  for (const place of document.querySelectorAll(`[data-device="${CSS.escape(device)}"]`)) {
    const value = place.querySelector("[data-main]");
    if (newest && value) value.textContent = reading(newest.metrics[0], value.dataset.main);
    const seen = place.querySelector("[data-seen] time");
    const heard = Math.min(now(), newest?.ts ?? presence.at);
    if (seen && heard > Date.parse(seen.dateTime)) seen.dateTime = new Date(heard).toISOString();
    const badge = place.querySelector("[data-presence]");
    if (!badge || !presence) continue;
    const word = presence.online ? "online" : "offline";
    badge.className = `badge badge-${word}`;
    badge.textContent = presence.online ? "Online" : "Offline";
  }
  tell();
}

function watch() {
  live.watch([...document.querySelectorAll("[data-device]")].map((place) => place.dataset.device));
}

// Figures and lists that no single message settles are fetched again, as the server draws them.
let fetched = now();
async function refresh() {
  if (!document.querySelector("[data-refresh]") || document.hidden) return;
  fetched = now();
  const answer = await fetch(location.href).catch(() => null);
  if (answer?.redirected) location.reload();
  if (!answer?.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  const chosen = getSelection();
  for (const part of document.querySelectorAll("[data-refresh]")) {
    const other = fresh.getElementById(part.id);
    const busy = part.contains(document.activeElement) || (!chosen.isCollapsed && part.contains(chosen.anchorNode));
    if (other && !busy) part.replaceChildren(...other.childNodes);
  }
  watch();
  tell();
}

let soon = 0;
function refreshSoon() {
  clearTimeout(soon);
  soon = setTimeout(refresh, 500);
}

live.addEventListener("change", ({ detail }) => {
  apply(detail);
  if (detail.presence) refreshSoon();
});
live.addEventListener("again", refreshSoon);
live.addEventListener("state", ({ detail }) => {
  for (const place of document.querySelectorAll("[data-live-state]")) {
    place.dataset.liveState = detail;
    place.textContent = STATES[detail];
  }
});
document.addEventListener("visibilitychange", () => now() - fetched > REFRESH && refresh());
setInterval(tell, 1000);
setInterval(refresh, REFRESH);
tell();
watch();
