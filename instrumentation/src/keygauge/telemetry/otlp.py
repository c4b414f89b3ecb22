"""The reader that pushes metrics as OTLP over HTTP; import it only where `keygauge[otlp]` is asked for."""

from __future__ import annotations

import os
from typing import Any

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import Counter, Histogram, ObservableCounter, ObservableUpDownCounter, UpDownCounter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    CardinalityLimits,
    MetricsData,
    PeriodicExportingMetricReader,
)

_SUMS = (Counter, Histogram, ObservableCounter, ObservableUpDownCounter, UpDownCounter)


class PushReader(PeriodicExportingMetricReader):
    """Pushes only in the process that made it, cumulatively.

    The SDK starts its readers anew in a child after a fork; the child would push the parent's histograms a second time.
    """

    def __init__(self, limits: CardinalityLimits) -> None:
        self._pid = os.getpid()
        # Prometheus refuses delta, whatever OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE says.
        temporality: dict[type, AggregationTemporality] = dict.fromkeys(_SUMS, AggregationTemporality.CUMULATIVE)
        super().__init__(OTLPMetricExporter(preferred_temporality=temporality), cardinality_limits=limits)

    def _receive_metrics(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **options: Any) -> None:
        if os.getpid() == self._pid:
            super()._receive_metrics(metrics_data, timeout_millis, **options)
