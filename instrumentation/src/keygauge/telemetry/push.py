"""The metric reader that pushes over OTLP or to the console; import it only if the SDK is installed."""

from __future__ import annotations

import os
from typing import Any

from opentelemetry.sdk.metrics.export import (
    CardinalityLimits,
    MetricExporter,
    MetricsData,
    PeriodicExportingMetricReader,
)


class PushReader(PeriodicExportingMetricReader):
    """A reader that pushes only in the process that created it; OpenTelemetry's variables set interval and temporality.

    After a fork, the SDK restarts its readers in the child, which would push the parent's histograms a second time.
    """

    def __init__(self, exporter: MetricExporter, limits: CardinalityLimits) -> None:
        self._pid = os.getpid()
        super().__init__(exporter, cardinality_limits=limits)

    def _receive_metrics(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **options: Any) -> None:
        if os.getpid() == self._pid:
            super()._receive_metrics(metrics_data, timeout_millis, **options)
