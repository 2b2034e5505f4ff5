// Keeps a server-rendered page true: ages, connection badges, newest values, and parts marked data-refresh; and says
// so where it cannot: what is shown while the network is away is greyed, and caught up with when it is back.

import { ago, clock, minute, moment, now, reading } from "./format.js";
import { live } from "./socket.js";

const STATES = { open: "Live", stale: "Updates are delayed", refused: "Signed out: reload the page" };
const REFRESH = 30_000;
let lostAt = 0;

function tell() {
  for (const time of document.querySelectorAll("time[data-ago]")) {
    const at = Date.parse(time.dateTime);
    const text = ago(at);
    if (time.textContent !== text) time.textContent = text;
    time.title = moment(at);
  }
  for (const time of document.querySelectorAll("time[data-at]")) time.textContent = minute(Date.parse(time.dateTime));
  for (const place of document.querySelectorAll("[data-silence]")) watchSilence(place);
}

// Online, and not heard for longer than its type allows: the portal will say so too, a little later.
function watchSilence(place) {
  const badge = place.querySelector("[data-presence]");
  const seen = place.querySelector("[data-seen] time");
  if (!badge || !seen || badge.classList.contains("badge-offline")) return;
  const silent = now() - Date.parse(seen.dateTime) > place.dataset.silence * 1000;
  if (silent !== badge.classList.contains("badge-stale")) show(badge, silent ? "stale" : "online", silent ? "Silent" : "Online");
}

function show(badge, state, word) {
  badge.className = `badge badge-${state}`;
  badge.textContent = word;
}

function apply({ device, reading: newest, presence }) {
  for (const place of document.querySelectorAll(`[data-device="${CSS.escape(device)}"]`)) {
    const value = place.querySelector("[data-main]");
    if (newest && value) value.textContent = reading(newest.metrics[0], value.dataset.main);
    const seen = place.querySelector("[data-seen] time");
    const heard = Math.min(now(), newest?.ts ?? presence.at);
    if (seen && heard > Date.parse(seen.dateTime)) seen.dateTime = new Date(heard).toISOString();
    const badge = place.querySelector("[data-presence]");
    if (badge && presence) show(badge, presence.online ? "online" : "offline", presence.online ? "Online" : "Offline");
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
  said(live.state, !answer?.ok);
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

// What is known of the connection, in words; what is shown is as old as its loss.
function said(state, failed = false) {
  if (state !== "lost") lostAt = 0;
  else lostAt ||= now();
  const away = navigator.onLine ? "Connection lost, reconnecting" : "You are offline";
  const words = state === "lost" ? `${away}. Values are of ${clock(lostAt)}.` : failed && state === "open" ? "Could not refresh, trying again" : STATES[state] ?? "";
  document.documentElement.dataset.live = failed && state === "open" ? "failed" : state;
  for (const place of document.querySelectorAll("[data-live-state]")) {
    place.dataset.liveState = state;
    if (place.textContent !== words) place.textContent = words;
  }
}

live.addEventListener("change", ({ detail }) => {
  apply(detail);
  if (detail.presence) refreshSoon();
});
live.addEventListener("again", refreshSoon);
live.addEventListener("state", ({ detail }) => said(detail));
for (const event of ["online", "offline"]) addEventListener(event, () => said(live.state));
document.addEventListener("visibilitychange", () => now() - fetched > REFRESH && refresh());
setInterval(tell, 1000);
setInterval(refresh, REFRESH);
tell();
watch();
