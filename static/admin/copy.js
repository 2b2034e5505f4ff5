// Copy and download of what stands in the page; the text goes nowhere else. Without script it is selected by hand.

const said = (button, text) => { button.parentElement.querySelector("[role=status]").textContent = text; };

function select(source) {
  source.closest("details")?.setAttribute("open", "");
  getSelection().selectAllChildren(source);
}

async function copy(button) {
  const source = document.getElementById(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(source.textContent);
    said(button, "Copied");
  } catch { // no clipboard without HTTPS, or none was allowed
    select(source);
    said(button, document.execCommand("copy") ? "Copied" : "Selected: press Ctrl+C");
  }
}

function save(button) {
  const blob = new Blob([document.getElementById(button.dataset.save).textContent], { type: "application/octet-stream" });
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: button.dataset.name });
  link.click();
  URL.revokeObjectURL(link.href);
  said(button, "Saved");
}

for (const button of document.querySelectorAll("[data-copy], [data-save]")) {
  button.hidden = false;
  button.onclick = () => (button.dataset.copy ? copy(button) : save(button));
}
// What is shown once answers a form: a reload must not send the form again.
const once = document.querySelector("[data-once]");
if (once) history.replaceState(null, "", once.dataset.once);
