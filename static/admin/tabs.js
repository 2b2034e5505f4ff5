// Sections of a page as tabs (arrow keys, Home, End; the address remembers which). Without script they stand below each other.

for (const tabbed of document.querySelectorAll(".tabbed")) {
  const sections = [...tabbed.querySelectorAll(":scope > section")];
  const list = document.createElement("div");
  list.role = "tablist";
  list.ariaLabel = tabbed.dataset.label;
  const tabs = sections.map((section) => {
    const tab = document.createElement("button");
    Object.assign(tab, { type: "button", role: "tab", id: `tab-${section.id}`, textContent: section.ariaLabel });
    tab.setAttribute("aria-controls", section.id);
    section.role = "tabpanel";
    section.removeAttribute("aria-label");
    section.setAttribute("aria-labelledby", tab.id);
    tab.onclick = () => show(tab);
    return tab;
  });

  function show(chosen) {
    tabs.forEach((tab, index) => {
      const open = tab === chosen;
      tab.ariaSelected = String(open);
      tab.tabIndex = open ? 0 : -1;
      sections[index].hidden = !open;
    });
    chosen.scrollIntoView({ block: "nearest" });
    if (chosen !== tabs[0] || location.hash) history.replaceState(null, "", `#${sections[tabs.indexOf(chosen)].id}`);
  }

  function named() {
    return tabs[sections.findIndex((section) => `#${section.id}` === location.hash)];
  }

  list.addEventListener("keydown", (event) => {
    const at = tabs.indexOf(document.activeElement);
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: tabs.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const tab = tabs[(to + tabs.length) % tabs.length];
    tab.focus();
    show(tab);
  });
  addEventListener("hashchange", () => named() && show(named()));
  list.append(...tabs);
  tabbed.prepend(list);
  tabbed.classList.add("ready");
  show(named() ?? tabs[0]);
}
