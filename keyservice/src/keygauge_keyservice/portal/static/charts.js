// Configuration for pygal's tooltips, which pygal itself would write as an inline script.
"use strict";
window.pygal = {config: {}};
for (const chart of document.querySelectorAll(".pygal-chart")) {
  const {width, height} = chart.viewBox.baseVal;
  window.pygal.config[chart.id.replace("chart-", "")] = {width, height, legends: []};
}
