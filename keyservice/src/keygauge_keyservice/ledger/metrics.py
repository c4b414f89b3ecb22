"""The ledger's metrics on `/metrics`."""

from __future__ import annotations

from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from keygauge import service_metrics
from keygauge.metrics import Metric, label
from keygauge_keyservice.ledger.receipt import Receipt


class LedgerMetrics:
    """Counters of ingested and refused events, and the ledger's lag."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._events = _counter(service_metrics.LEDGER_EVENTS, registry)
        self._refused = _counter(service_metrics.LEDGER_REFUSED, registry)
        self._duplicates = _counter(service_metrics.LEDGER_DUPLICATES, registry)
        self._missing = _counter(service_metrics.LEDGER_MISSING, registry)
        lag = service_metrics.LEDGER_LAG
        self._lag = Gauge(lag.prometheus_name, lag.description, registry=registry, multiprocess_mode="mostrecent")
        duration = service_metrics.LEDGER_BATCH_DURATION
        self._duration = Histogram(
            duration.prometheus_name, duration.description, registry=registry, buckets=duration.buckets
        )

    def record(self, receipt: Receipt, *, duration_s: float, now: datetime | None = None) -> None:
        """Record one batch."""
        self._events.inc(receipt.accepted)
        self._duplicates.inc(receipt.duplicates)
        self._missing.inc(receipt.missing)
        for _, refusal in receipt.refused:
            self._refused.labels(refusal.value).inc()
        if receipt.newest_us is not None:
            self._lag.set((now or datetime.now(UTC)).timestamp() - receipt.newest_us / 1_000_000)
        self._duration.observe(duration_s)


def _counter(metric: Metric, registry: CollectorRegistry) -> Counter:
    labels = [label(attribute) for attribute in metric.attributes]
    return Counter(metric.prometheus_name, metric.description, labels, registry=registry)
