"""PromQL queries built from the metric registry."""
