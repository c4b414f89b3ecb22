"""What OpenTelemetry and Prometheus are told: counters bounded in number, histograms, traces, and their set-up.

May import `limits`, `pricing`, `usage` and what stands beside the rooms.
"""
