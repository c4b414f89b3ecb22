"""The collector's own metrics that the dashboards and alerts use; a test checks the names with a real collector."""

from __future__ import annotations

from keygauge.metrics import Metric

REFUSED = Metric(
    "otelcol.receiver.refused.metric.points", "counter", "{point}", ("receiver",), "Points refused on receipt"
)
SEND_FAILED = Metric(
    "otelcol.exporter.send.failed.metric.points", "counter", "{point}", ("exporter",), "Points that could not be sent"
)
ENQUEUE_FAILED = Metric(
    "otelcol.exporter.enqueue.failed.metric.points",
    "counter",
    "{point}",
    ("exporter",),
    "Points that could not be queued",
)

ALL: tuple[Metric, ...] = (REFUSED, SEND_FAILED, ENQUEUE_FAILED)
