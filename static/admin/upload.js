// Uploads a form with its files: says how far it is, and keeps what was chosen when the answer is a refusal.
// Without script the form is sent as ever; only the files then have to be chosen anew.

const form = document.querySelector("[data-upload] form");
const progress = form.querySelector(".upload-progress");
const said = (text) => { progress.querySelector("[role=status]").textContent = text; };

function refused(page) {
  form.querySelectorAll(".errorlist, .errornote").forEach((each) => each.remove());
  form.querySelectorAll(".errors").forEach((each) => each.classList.remove("errors"));
  const answer = page.querySelector("[data-upload] form");
  const note = answer.querySelector(".errornote");
  if (note) form.querySelector("fieldset").before(document.adoptNode(note));
  for (const list of answer.querySelectorAll(".form-row .errorlist")) {
    const name = [...list.closest(".form-row").classList].find((each) => each.startsWith("field-"));
    const row = form.querySelector(`.form-row.${name}`);
    row.classList.add("errors");
    row.prepend(document.adoptNode(list));
  }
  const general = answer.querySelector(":scope > div > .errorlist");
  if (general) form.querySelector("fieldset").before(document.adoptNode(general));
  (form.querySelector(".errors :is(input, textarea, select)") ?? form).scrollIntoView({ block: "center" });
  form.querySelector(".errors :is(input, textarea, select)")?.focus();
}

function ended(request, button) {
  button.disabled = false;
  progress.hidden = true;
  const page = new DOMParser().parseFromString(request.responseText, "text/html");
  if (request.status === 200 && page.querySelector("[data-upload] form")) refused(page);
  else if (request.status === 200) location.assign(request.responseURL);
  else { progress.hidden = false; said(`The portal answered ${request.status}. Nothing was uploaded; try again.`); }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const button = form.querySelector("input[type=submit]");
  const request = new XMLHttpRequest();
  const bar = progress.querySelector("progress");
  button.disabled = true;
  progress.hidden = false;
  bar.removeAttribute("value");
  request.upload.onprogress = ({ loaded, total }) => {
    bar.value = (100 * loaded) / total;
    said(loaded < total ? `${Math.floor((100 * loaded) / total)} % sent` : "Sent: storing and verifying it");
  };
  request.onload = () => ended(request, button);
  request.onerror = () => { button.disabled = false; said("The connection broke. Nothing was uploaded; try again."); };
  request.open("POST", form.action || location.href);
  const told = new FormData(form);
  told.append(button.name, button.value);
  request.send(told);
});
