// Toolbars are applied on change, and choosing dates makes the range custom. Without scripts, a button applies them.
"use strict";
for (const form of document.querySelectorAll("[data-toolbar]")) {
  const range = form.elements.range;
  form.addEventListener("change", ({target}) => {
    if (target.type === "date" && range) range.value = "custom";
    if (range && range.value === "custom" && !(form.elements.from.value && form.elements.to.value)) return;
    form.requestSubmit();
  });
  form.addEventListener("submit", () => {
    for (const field of form.elements) {
      const isDate = field.type === "date" && range && range.value !== "custom";
      if (field.name && (field.value === "" || isDate)) field.disabled = true;
    }
    if (range && range.value === "custom") range.disabled = true;
  });
}
