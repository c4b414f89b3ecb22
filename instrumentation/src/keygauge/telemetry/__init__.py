"""Telemetry for OpenTelemetry and Prometheus: bounded counters, histograms, traces, and their setup.

May import `limits`, `pricing`, `usage` and the modules directly in `keygauge`.
"""
