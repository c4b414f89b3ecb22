// Copy buttons: shown only with JavaScript and a clipboard; the text can always be selected by hand.
"use strict";
const notice = document.getElementById("copied");
for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = !navigator.clipboard;
  button.addEventListener("click", async () => {
    const source = document.getElementById(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(source.textContent);
      button.classList.add("done");
      notice.textContent = notice.dataset.done;
      setTimeout(() => button.classList.remove("done"), 2000);
    } catch {
      getSelection().selectAllChildren(source);
      notice.textContent = notice.dataset.blocked;
    }
  });
}
