// Scroll the navigation to the current page: on narrow screens, it does not show all pages at once.
"use strict";
const current = document.querySelector("nav [aria-current]");
if (current) {
  const nav = current.closest("nav");
  nav.scrollLeft = current.offsetLeft - nav.offsetLeft - (nav.clientWidth - current.offsetWidth) / 2;
}
