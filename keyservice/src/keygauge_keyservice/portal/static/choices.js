// Fields with an incomplete datalist: fetch matches while a name is typed.
"use strict";
const WAIT_MS = 150;
for (const field of document.querySelectorAll("[data-choices]")) {
  let waiting = 0;
  field.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(async () => {
      const query = field.value;
      try {
        const answer = await fetch(`${field.dataset.choices}?q=${encodeURIComponent(query)}`, {redirect: "error"});
        if (answer.status !== 200 || field.value !== query) return;
        const {choices} = await answer.json();
        field.list.replaceChildren(...choices.map((choice) => new Option("", choice)));
      } catch {
        // The service is temporarily unavailable: keep the current choices.
      }
    }, WAIT_MS);
  });
}
