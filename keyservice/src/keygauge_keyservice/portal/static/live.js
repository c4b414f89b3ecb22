// Refresh the newest page of calls and the overview's rates, only while the page is visible.
"use strict";
const EVERY_MS = 2000;
for (const part of document.querySelectorAll("[data-live]")) {
  const button = document.getElementById("live");
  let etag = "";
  let paused = false;
  if (button) {
    button.textContent = button.dataset.pause;
    button.setAttribute("role", "button");
    button.addEventListener("click", (event) => {
      event.preventDefault();
      paused = !paused;
      button.textContent = paused ? button.dataset.resume : button.dataset.pause;
    });
  }
  setInterval(async () => {
    if (paused || document.hidden || part.contains(document.activeElement)) return;
    try {
      const answer = await fetch(part.dataset.live, {headers: etag ? {"If-None-Match": etag} : {}, redirect: "error", cache: "no-store"});
      if (answer.status === 200) {
        etag = answer.headers.get("ETag") || "";
        const fresh = new DOMParser().parseFromString(`<table><tbody>${await answer.text()}</tbody></table>`, "text/html");
        part.replaceChildren(...fresh.querySelector("tbody").children);
      }
    } catch {
      // The service is temporarily unavailable: keep the current rows.
    }
  }, EVERY_MS);
}
