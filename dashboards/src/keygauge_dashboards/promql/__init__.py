"""Queries to Prometheus, built from the metric registry."""
