// Parts of a page that move by themselves: fetched again every two seconds, as the server draws them, for as long as
// something in them moves. When the portal cannot be reached the page says so, and goes on by itself afterwards.

const EVERY = 2_000;
let busy = false;

const moving = () => [...document.querySelectorAll("[data-poll]")].filter((part) => part.querySelector("[data-moves]"));

function tell(text) {
  for (const place of document.querySelectorAll("[data-poll-late]")) if (place.textContent !== text) place.textContent = text;
}

function draw(text) {
  const fresh = new DOMParser().parseFromString(text, "text/html");
  for (const part of moving()) {
    const other = fresh.getElementById(part.id);
    if (!other) continue;
    const focused = part.contains(document.activeElement) ? document.activeElement.id : "";
    const before = part.dataset.says;
    part.replaceChildren(...other.childNodes);
    part.dataset.says = other.dataset.says;
    if (focused) document.getElementById(focused)?.focus();
    const said = document.querySelector("[data-poll-said]");
    if (said && before !== part.dataset.says) said.textContent = part.dataset.says;
  }
}

async function refresh() {
  if (busy || document.hidden || !moving().length) return;
  busy = true;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" }, signal: AbortSignal.timeout(15_000) });
    if (answer.redirected) location.reload();
    else if (answer.ok) draw(await answer.text());
    tell(answer.ok ? "" : "The portal does not answer as it should; trying again");
  } catch {
    tell("The portal cannot be reached; trying again");
  }
  busy = false;
}

document.addEventListener("visibilitychange", refresh);
setInterval(refresh, EVERY);
