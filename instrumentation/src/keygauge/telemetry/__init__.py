"""Telemetry for OpenTelemetry and Prometheus: bounded counters, histograms, traces, and their setup.

May import `limits`, `pricing`, `usage` and what stands beside the rooms.
"""
