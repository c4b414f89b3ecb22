"""All alerts that Prometheus evaluates, and the series it records for them."""

from __future__ import annotations

from keygauge_dashboards import key_alerts, limit_alerts, plumbing_alerts, service_alerts
from keygauge_dashboards.alert import Alert, Record
from keygauge_dashboards.thresholds import Thresholds


def records(thresholds: Thresholds) -> list[Record]:
    """Return what is recorded."""
    return [*service_alerts.records(thresholds), *key_alerts.records()]


def alerts(thresholds: Thresholds) -> list[Alert]:
    """Return every alert."""
    kinds = (service_alerts, limit_alerts, key_alerts, plumbing_alerts)
    return [alert for kind in kinds for alert in kind.alerts(thresholds)]
