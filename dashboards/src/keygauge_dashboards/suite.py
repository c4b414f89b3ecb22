"""All dashboards, in the order a reader should meet them."""

from __future__ import annotations

from keygauge_dashboards.overview import overview
from keygauge_dashboards.panels import Page
from keygauge_dashboards.thresholds import Thresholds


def pages(thresholds: Thresholds) -> list[Page]:
    """Make every dashboard."""
    return [overview(thresholds)]
