// The form of a schema version: rows are added and moved, and payloads tried, without leaving the page.
// Without script the same buttons send the form.

const form = document.querySelector(".schema-form");
const body = form.querySelector(".metric-rows tbody");
const fresh = document.getElementById("metric-row");

function renumber() {
  [...body.rows].forEach((row, index) => {
    const place = row.querySelector("[name$=-place]");
    if (place) place.value = index + 1;
  });
}

function add() {
  const count = form.elements.rows;
  body.insertAdjacentHTML("beforeend", fresh.innerHTML.replaceAll("__number__", count.value));
  count.value = Number(count.value) + 1;
  const row = body.lastElementChild;
  movable(row);
  renumber();
  row.querySelector("[name$=-name]").focus();
}

function movable(row) {
  const place = row.querySelector("[name$=-place]");
  if (!place) return;
  const moves = Object.assign(document.createElement("span"), { className: "moves" });
  for (const [text, label, step] of [["↑", "Up", -1], ["↓", "Down", 1]]) {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: text, ariaLabel: label });
    button.onclick = () => {
      const other = step < 0 ? row.previousElementSibling : row.nextElementSibling;
      if (other) (step < 0 ? other.before(row) : other.after(row));
      renumber();
      button.focus();
    };
    moves.append(button);
  }
  place.type = "hidden";
  place.after(moves);
}

const said = (text) => {
  const line = Object.assign(document.createElement("p"), { className: "verdict tone-bad", textContent: text });
  document.getElementById("tried").replaceChildren(line);
};

async function attempt(button) {
  const told = new FormData(form);
  told.append(button.name, button.value);
  button.disabled = true;
  try {
    const answer = await fetch(location.href, { method: "POST", body: told });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const tried = page.getElementById("tried");
    if (!answer.ok || !tried) said(`The portal answered ${answer.status}. Nothing was tried.`);
    else {
      document.getElementById("tried").replaceChildren(...document.adoptNode(tried).childNodes);
      mark(page);
    }
  } catch {
    said("The connection broke. Nothing was tried; try again.");
  } finally {
    button.disabled = false;
  }
}

// What the answer has against the rows, beside the fields of this page: nothing that was typed moves.
function mark(page) {
  form.querySelectorAll(".errorlist").forEach((each) => each.remove());
  form.querySelectorAll(".errors, .wrong").forEach((each) => each.classList.remove("errors", "wrong"));
  for (const list of page.querySelectorAll(".schema-form .errorlist")) {
    const field = list.parentElement.querySelector("[name]");
    const here = field && form.querySelector(`[name="${CSS.escape(field.name)}"]`);
    const place = here?.closest("td, .unnamed, .why");
    here?.closest("tr")?.classList.add("wrong");
    place?.classList.add("errors");
    if (place) place.prepend(document.adoptNode(list));
    else form.querySelector(".metric-rows").before(document.adoptNode(list));
  }
}

form.addEventListener("submit", (event) => {
  const button = event.submitter;
  if (button?.name === "_more") { event.preventDefault(); add(); }
  if (["_try", "_letters"].includes(button?.name)) { event.preventDefault(); attempt(button); }
});
if (body) {
  [...body.rows].forEach(movable);
  renumber();
}
form.querySelector(".errorlist")?.scrollIntoView({ block: "center" });
