"""Generate Grafana dashboards and alert rules from KeyGauge's metric registry.

`dashboards` and `alerts` say what is shown and when to alert, in terms of `grafana` and `promql`; `generate` writes it.
"""
