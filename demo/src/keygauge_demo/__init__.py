"""Run the whole of KeyGauge on one machine, with live traffic."""
