// The live page of a campaign: a socket says that something moved, the server draws it, and what differs is put in place.
// Without the socket it asks every five seconds; when it cannot reach the portal it says how old the page is.

import { ago, now, span } from "../format.js";

const root = document.getElementById("campaign");
const parts = document.getElementById("parts");
const line = root.querySelector("[data-link-state]");
const said = root.querySelector("[data-said]");
const FORBIDDEN = 4403;
const POLL = 5_000;
const CALM = 30_000; // even a socket that is open may have lost a word
const AFTER = 2_000; // the server counts once a second: what came right after the count is fetched, too
const BEAT = 20_000;

let socket = null, failures = 0, open = false, refused = false;
let busy = false, again = false, fetched = now(), late = false, trailing = 0, beat = 0;

// --- what differs ------------------------------------------------------------------------------------------------------

const alike = (old, fresh) => old.nodeType === fresh.nodeType && old.nodeName === fresh.nodeName && (old.id ?? "") === (fresh.id ?? "");

// The same element stays, so that focus, scrolling, open details and what somebody types stay with it.
function morph(old, fresh) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  if (old.tagName === "TIME" && old.dateTime === fresh.dateTime) return; // its text is the browser's own
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  let at = old.firstChild;
  for (const child of [...fresh.childNodes]) {
    const known = child.id ? old.querySelector(`:scope > [id="${CSS.escape(child.id)}"]`) : null;
    if (known && known !== at) old.insertBefore(known, at);
    const mine = known ?? (at && alike(at, child) ? at : null);
    if (!mine) {
      old.insertBefore(child, at);
      continue;
    }
    morph(mine, child);
    at = mine.nextSibling;
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

function tell() {
  for (const time of parts.querySelectorAll("time[data-until]")) {
    const left = Date.parse(time.dateTime) - now();
    const text = left > 0 ? span(left) : "moment";
    if (time.textContent !== text) time.textContent = text;
  }
  for (const time of parts.querySelectorAll("time[data-ago]")) {
    const text = ago(Date.parse(time.dateTime));
    if (time.textContent !== text) time.textContent = text;
  }
  show();
}

// --- how fresh it is ---------------------------------------------------------------------------------------------------

function show() {
  const state = refused ? "refused" : late ? "stale" : open ? "open" : "polling";
  const text = {
    open: "Live",
    polling: `Asks every ${POLL / 1000} seconds`,
    stale: `Stale: the portal cannot be reached. This is the state of ${span(now() - fetched)} ago`,
    refused: "Signed out: reload the page",
  }[state];
  if (line.textContent !== text) line.textContent = text;
  if (line.dataset.linkState === state) return;
  const before = line.dataset.linkState;
  line.dataset.linkState = state;
  parts.classList.toggle("stale", late || refused);
  if (late || refused) said.textContent = text;
  else if (before === "stale") said.textContent = "Up to date again.";
}

async function refresh() {
  if (busy) {
    again = true;
    return;
  }
  busy = true;
  try {
    const answer = await fetch(root.dataset.parts + location.search, { headers: { Accept: "text/html" }, signal: AbortSignal.timeout(15_000) });
    refused = answer.redirected || answer.status === 403;
    if (!refused && !answer.ok) throw new Error(answer.status);
    if (!refused) draw(await answer.text());
    fetched = now();
    late = false;
  } catch {
    late = true;
  }
  busy = false;
  show();
  if (again) {
    again = false;
    refresh();
  }
}

function draw(text) {
  const fresh = document.createElement("div");
  fresh.id = "parts";
  fresh.className = parts.className;
  fresh.append(...new DOMParser().parseFromString(text, "text/html").body.childNodes);
  const before = parts.querySelector("[data-says]")?.dataset.says;
  morph(parts, fresh);
  const after = parts.querySelector("[data-says]")?.dataset.says;
  if (after !== before) said.textContent = after;
  tell();
}

function moved() {
  refresh();
  clearTimeout(trailing);
  trailing = setTimeout(refresh, AFTER);
}

// --- the socket --------------------------------------------------------------------------------------------------------

function connect() {
  if (socket || refused) return;
  const own = (socket = new WebSocket(`${location.origin.replace("http", "ws")}/ws/campaigns/${root.dataset.campaign}`));
  own.onmessage = ({ data }) => {
    listen();
    const message = JSON.parse(data);
    if (message.watching) {
      [open, failures] = [true, 0];
      refresh();
    }
    if (message.changed) moved();
  };
  own.onclose = ({ code }) => lost(own, code);
  listen();
}

function lost(own, code) {
  if (own !== socket) return;
  clearTimeout(beat);
  [socket, open] = [null, false];
  own.close();
  show();
  if (code === FORBIDDEN) return; // the next question to the portal says why
  setTimeout(connect, Math.min(30_000, 500 * 2 ** failures++) * (0.5 + Math.random() / 2));
}

// A dead connection is not always told to the browser: silence is answered with a question, and a second silence is the end.
function listen(asked = false) {
  clearTimeout(beat);
  beat = setTimeout(() => {
    if (asked || socket?.readyState !== WebSocket.OPEN) return lost(socket, 0);
    socket.send('{"ping":true}');
    listen(true);
  }, BEAT);
}

addEventListener("offline", () => socket && lost(socket, 0));
addEventListener("online", () => (connect(), refresh()));
document.addEventListener("visibilitychange", () => document.hidden || (connect(), refresh()));
let tried = now();
setInterval(() => {
  tell();
  if (document.hidden || refused || now() - tried < (open && !late ? CALM : POLL)) return;
  tried = now();
  refresh();
}, 1000);
tell();
connect();
