// The API's page: what an address leads to is open, and operations are found by a word.

const find = document.querySelector("[data-find]");
const found = document.querySelector("[data-found]");
const operations = [...document.querySelectorAll("details[data-words]")];

function open() {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  if (target instanceof HTMLDetailsElement) target.open = true;
  target?.scrollIntoView?.();
}

function search() {
  const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const each of operations) {
    const text = each.dataset.words.toLowerCase();
    each.hidden = !words.every((word) => text.includes(word));
    const link = document.querySelector(`[data-operation="${CSS.escape(each.id)}"]`);
    if (link) link.hidden = each.hidden;
    if (!each.hidden) count += 1;
  }
  for (const chapter of document.querySelectorAll(".docs-chapter")) {
    chapter.hidden = words.length > 0 && !chapter.querySelector("details[data-words]:not([hidden])");
  }
  document.getElementById("start").hidden = words.length > 0;
  found.textContent = words.length ? `${count} ${count === 1 ? "operation" : "operations"}` : "";
}

addEventListener("hashchange", open);
find.addEventListener("input", search);
find.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    find.value = "";
    search();
  }
});
open();
