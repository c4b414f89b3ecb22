"""Queries of histograms, which Prometheus stores as classic buckets or, if the services send them, natively.

Each query reads both, because services may change from one kind to the other, and an alert that only reads the other
kind would never fire. Looking for series that do not exist costs almost nothing. If both kinds exist for the same
labels, the classic one is used, so nothing counts twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from keygauge.metrics import Metric
from keygauge_dashboards.promql.queries import EVERYTHING, NATIVE, RATE, SCOPE, Match, like, select, total

_BOUND = "le"  # the label with a classic bucket's upper bound


def quantile(share: float, metric: Metric, *, by: tuple[str, ...] = (), scope: Mapping[str, str] = SCOPE) -> str:
    """Return a quantile of a histogram, in the metric's unit."""
    classic = total(metric, f"rate({select(metric, scope=scope, part='_bucket')}[{RATE}])", (_BOUND, *by))
    native = total(metric, f"rate({select(metric, scope=scope, part=NATIVE)}[{RATE}])", by)
    return f"histogram_quantile({share}, {classic}) or histogram_quantile({share}, {native})"


def distribution(metric: Metric, *, scope: Mapping[str, str] = SCOPE) -> str:
    """Return the increase of all buckets, for a heatmap."""
    classic = total(metric, f"increase({select(metric, scope=scope, part='_bucket')}[{RATE}])", (_BOUND,))
    native = total(metric, f"increase({select(metric, scope=scope, part=NATIVE)}[{RATE}])", ())
    return f"{classic} or on () {native}"


def observations(
    function: Literal["rate", "increase"], metric: Metric, *where: Match, by: tuple[str, ...], window: str
) -> str:
    """Return the rate or increase of the number of observations, over all services."""
    classic, native = (
        f"{function}({select(metric, *where, scope=EVERYTHING, part=part)}[{window}])" for part in ("_count", NATIVE)
    )
    return total(metric, f"{classic} or histogram_count({native})", by)


def share_above(bound: float, metric: Metric, *, by: tuple[str, ...], window: str) -> str:
    """Return the share of observations above a bucket's bound, over all services; no result if there are none.

    In native histograms, whose buckets have other bounds, it is interpolated within a bucket.
    """
    # The bound is written 10 or 10.0, depending on the exporter and on Prometheus' version.
    at_bound = like(_BOUND, f"{bound:g}|{float(bound)}")
    below = total(metric, f"rate({select(metric, at_bound, scope=EVERYTHING, part='_bucket')}[{window}])", by)
    every = total(metric, f"rate({select(metric, scope=EVERYTHING, part='_count')}[{window}])", by)
    native = total(metric, f"rate({select(metric, scope=EVERYTHING, part=NATIVE)}[{window}])", by)
    # Without observations, a native histogram's fraction is NaN, which is not >= 0.
    return f"1 - ({below} / ({every} > 0) or histogram_fraction(0, {bound:g}, {native}) >= 0)"
