// Close open menus with Escape, or by a click elsewhere.
"use strict";
const openMenus = () => [...document.querySelectorAll(".menu[open], .row-menu[open]")];
document.addEventListener("keydown", (event) => {
  const menu = openMenus()[0];
  if (event.key !== "Escape" || !menu) return;
  menu.open = false;
  menu.querySelector("summary").focus();
});
document.addEventListener("click", (event) => {
  for (const menu of openMenus()) if (!menu.contains(event.target)) menu.open = false;
});
