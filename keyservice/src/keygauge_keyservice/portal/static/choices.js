// A field whose datalist has not all there is: ask for what matches while a name is typed.
"use strict";
const WAIT_MS = 150;
for (const field of document.querySelectorAll("[data-choices]")) {
  let waiting = 0;
  field.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(async () => {
      const asked = field.value;
      try {
        const answer = await fetch(`${field.dataset.choices}?q=${encodeURIComponent(asked)}`, {redirect: "error"});
        if (answer.status !== 200 || field.value !== asked) return;
        const {choices} = await answer.json();
        field.list.replaceChildren(...choices.map((choice) => new Option("", choice)));
      } catch {
        // The service is away for a moment: what is offered stays.
      }
    }, WAIT_MS);
  });
}
