// What the admin's own scripts draw without a name or role that a screen reader could say.
const labelOf = (select) => select.labels?.[0]?.textContent.replace(/:?\s*$/, "").trim() || select.getAttribute("aria-label") || "";

function name() {
  for (const each of document.querySelectorAll("span[aria-label]:not([role])")) each.setAttribute("role", "img");
  for (const box of document.querySelectorAll("select + .select2-container, select + * .select2-container")) {
    const select = box.parentElement.querySelector("select");
    const label = select && labelOf(select);
    if (!label) continue;
    for (const part of box.querySelectorAll(".select2-selection, .select2-search__field, span.select2-selection__rendered")) {
      part.removeAttribute("aria-labelledby");
      part.setAttribute("aria-label", label);
    }
    for (const part of box.querySelectorAll("ul.select2-selection__rendered > span")) part.setAttribute("role", "listitem");
  }
}

addEventListener("load", () => setTimeout(() => {
  name();
  new MutationObserver(name).observe(document.body, { childList: true, subtree: true });
}));
