// "Compare with…": devices of the same tenant that measure the same, found by name, chosen by a click or Enter.

const MOST = 9; // ten with the device itself
const PAUSE = 250;

export class Compare {
  #asked = 0;
  #timer = 0;

  // `panel` holds an input, a list of what is found and one of what is chosen; `changed` is called when that changes.
  constructor(panel, address, changed) {
    [this.panel, this.address, this.changed] = [panel, address, changed];
    this.chosen = new Map(); // device id → name
    this.input = panel.querySelector("input");
    this.found = panel.querySelector(".compare-found");
    this.picked = panel.querySelector(".compare-chosen");
    this.note = panel.querySelector(".compare-note");
    this.input.addEventListener("input", () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.search(), PAUSE);
    });
    panel.addEventListener("click", ({ target }) => this.#clicked(target.closest("button[data-id]")));
  }

  // For another metric there are other devices; those chosen stay if they have it, which the server knows.
  about(metric) {
    this.metric = metric;
    if (!this.panel.hidden) this.search();
  }

  async search() {
    const asked = ++this.#asked;
    const question = new URLSearchParams({ metric: this.metric.name, q: this.input.value.trim() });
    let devices = null;
    try {
      const answer = await fetch(`${this.address}?${question}`);
      if (answer.ok) ({ devices } = await answer.json());
    } catch { /* told below */ }
    if (asked !== this.#asked) return; // a newer question is on its way
    const free = devices?.filter(({ device }) => !this.chosen.has(device)) ?? [];
    this.found.replaceChildren(...free.map(({ device, name }) => item(device, name, `Compare with ${name}`)));
    const full = this.chosen.size >= MOST;
    for (const button of this.found.querySelectorAll("button")) button.disabled = full;
    this.note.textContent = !devices ? "Could not search; try again." : full ? "Ten devices fit on one chart."
      : free.length ? "" : this.input.value.trim() ? "No other device of that name measures this."
        : this.chosen.size ? "All that measure this are on the chart." : "No other device measures this.";
  }

  // As the address says; how they are called comes with their values.
  restore(devices) {
    for (const id of devices) this.chosen.set(id, id);
    this.#show();
  }

  name(names) {
    for (const id of this.chosen.keys()) if (names[id]) this.chosen.set(id, names[id]);
    this.#show();
  }

  clear() {
    this.chosen.clear();
    this.#show();
  }

  #clicked(button) {
    if (!button) return;
    const { id } = button.dataset;
    const inFound = this.found.contains(button);
    if (this.chosen.has(id)) this.chosen.delete(id);
    else this.chosen.set(id, button.textContent);
    if (inFound) this.input.value = "";
    this.#show();
    this.changed();
    this.search();
    if (inFound) this.input.focus();
    else (this.picked.querySelector("button") ?? this.input).focus();
  }

  #show() {
    const shown = [...this.picked.querySelectorAll("button")].map((each) => each.dataset.id + each.textContent).join();
    if (shown === [...this.chosen].map((each) => each.join("")).join()) return; // the focus stays where it is
    this.picked.replaceChildren(...[...this.chosen].map(([id, name]) => item(id, name, `Remove ${name}`)));
    this.picked.hidden = !this.chosen.size;
  }
}

function item(id, name, label) {
  const button = Object.assign(document.createElement("button"), { type: "button", textContent: name });
  button.dataset.id = id;
  button.setAttribute("aria-label", label);
  const line = document.createElement("li");
  line.append(button);
  return line;
}
