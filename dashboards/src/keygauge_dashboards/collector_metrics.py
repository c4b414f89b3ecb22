"""The collector's own metrics that we read: names that are not ours, so a test asks a real collector for them."""

from __future__ import annotations

from keygauge.metrics import Metric

REFUSED = Metric(
    "otelcol.receiver.refused.metric.points", "counter", "{point}", ("receiver",), "Points refused on receipt"
)
SEND_FAILED = Metric(
    "otelcol.exporter.send.failed.metric.points", "counter", "{point}", ("exporter",), "Points that could not be sent"
)
ENQUEUE_FAILED = Metric(
    "otelcol.exporter.enqueue.failed.metric.points", "counter", "{point}", ("exporter",), "Points for which no room was"
)

ALL: tuple[Metric, ...] = (REFUSED, SEND_FAILED, ENQUEUE_FAILED)
