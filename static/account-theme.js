// The admin keeps its theme in the browser: a new choice on the page of preferences is carried over to it, once.
const told = { system: "auto", light: "light", dark: "dark" }[document.currentScript.dataset.theme];
if (told && localStorage.getItem("preferred-theme") !== told) {
  localStorage.setItem("preferred-theme", told);
  localStorage.setItem("theme", told);
}
