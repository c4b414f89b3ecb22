"""All dashboards, in reading order."""

from __future__ import annotations

from keygauge_dashboards.alerts.alert import Links
from keygauge_dashboards.dashboards.errors import errors
from keygauge_dashboards.dashboards.health import health
from keygauge_dashboards.dashboards.inventory import inventory
from keygauge_dashboards.dashboards.key import key
from keygauge_dashboards.dashboards.limits import limits_page
from keygauge_dashboards.dashboards.models import models
from keygauge_dashboards.dashboards.overview import overview
from keygauge_dashboards.dashboards.requests import requests
from keygauge_dashboards.grafana.panels import Page
from keygauge_dashboards.thresholds import Thresholds


def pages(thresholds: Thresholds, runbook: str = Links.runbook) -> list[Page]:
    """Build every dashboard; alerts link to the runbook."""
    return [
        overview(thresholds, runbook),
        key(thresholds),
        models(),
        limits_page(thresholds),
        errors(thresholds),
        inventory(thresholds),
        requests(),
        health(thresholds),
    ]
