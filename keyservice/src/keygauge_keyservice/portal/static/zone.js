// Store the browser's time zone in a cookie, as no header contains it.
"use strict";
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
if (zone && !document.cookie.includes(`keygauge_zone=${zone}`)) {
  document.cookie = `keygauge_zone=${zone}; path=/; max-age=31536000; samesite=lax${location.protocol === "https:" ? "; secure" : ""}`;
}
