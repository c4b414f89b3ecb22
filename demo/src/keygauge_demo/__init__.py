"""All of KeyGauge on one machine, with live traffic."""
