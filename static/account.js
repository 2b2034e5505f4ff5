// Passkeys that did not work are told of on the page, and links that are shown once can be copied.

document.addEventListener("allauth.error", (event) => {
  event.preventDefault();
  let place = document.getElementById("passkey-error");
  if (!place) {
    place = Object.assign(document.createElement("p"), { id: "passkey-error", className: "error", role: "alert" });
    document.querySelector("main form")?.after(place);
  }
  const why = event.detail.exception?.name;
  place.textContent =
    why === "InvalidStateError"
      ? "This device is registered here already."
      : "That did not work: it was cancelled, took too long, or no passkey is here. Try again.";
  place.hidden = false;
});

for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = !navigator.clipboard;
  button.addEventListener("click", async () => {
    const field = document.getElementById(button.dataset.copy);
    field.select();
    await navigator.clipboard.writeText(field.value);
    button.textContent = "Copied";
  });
}
