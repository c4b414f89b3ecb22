"""Generate Grafana dashboards and alert rules from KeyGauge's metric registry."""
