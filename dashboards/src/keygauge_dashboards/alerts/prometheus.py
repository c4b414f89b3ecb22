"""All alerts that Prometheus evaluates, and the series it records for them."""

from __future__ import annotations

from keygauge_dashboards.alerts import keys, limits, self_monitoring, services
from keygauge_dashboards.alerts.alert import Alert, Record
from keygauge_dashboards.thresholds import Thresholds


def records(thresholds: Thresholds) -> list[Record]:
    """Return the recording rules."""
    return [*services.records(thresholds), *keys.records()]


def alerts(thresholds: Thresholds) -> list[Alert]:
    """Return every alert."""
    kinds = (services, limits, keys, self_monitoring)
    return [alert for kind in kinds for alert in kind.alerts(thresholds)]
