// What pygal's tooltips need to know of each chart; pygal itself would write it as an inline script.
"use strict";
window.pygal = {config: {}};
for (const chart of document.querySelectorAll(".pygal-chart")) {
  const {width, height} = chart.viewBox.baseVal;
  window.pygal.config[chart.id.replace("chart-", "")] = {width, height, legends: []};
}
