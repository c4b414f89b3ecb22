"""Alerts on the metered services' objectives: errors and latency that burn a month's budget too fast."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from keygauge.metrics import DURATION, REQUESTS, STATUS_CLASS, Metric
from keygauge_dashboards.alerts.alert import IN_ENVIRONMENT, SHARE, Alert, Record, of_service
from keygauge_dashboards.promql.histograms import observations, share_above
from keygauge_dashboards.promql.queries import ENV, JOB, is_, ratio
from keygauge_dashboards.thresholds import Burn, Thresholds
from keygauge_dashboards.uids import ERRORS_PAGE

_SERVICE = (JOB, ENV)  # or failures in staging would count as those of the live service
_NAMED = "{{ $labels.job }}" + IN_ENVIRONMENT


def records(thresholds: Thresholds) -> list[Record]:
    """Return the recording rules: each service's requests and the shares of failed and slow ones."""
    windows = dict.fromkeys(window for burn in thresholds.burns for window in (burn.short, burn.long))
    long = dict.fromkeys(burn.long for burn in thresholds.burns)
    return [
        *(Record(failed_share(window), _failed(window), _is_long(window)) for window in windows),
        *(Record(slow_share(window), _slow(window, thresholds.slow_s), _is_long(window)) for window in windows),
        *(Record(_requests(window), _answered(window), _is_long(window)) for window in long),
    ]


def _is_long(window: str) -> bool:
    return window.endswith("d") or window == "6h"


def alerts(thresholds: Thresholds) -> Iterator[Alert]:
    """Return the alerts."""
    for burn in thresholds.burns:
        budget = round(1 - thresholds.availability_objective, 9)
        yield Alert(
            name="ErrorBudgetBurn",
            severity=burn.severity,
            expression=_burns(failed_share, burn, round(burn.factor * budget, 9), thresholds),
            hold=burn.hold,
            summary=f"{_NAMED} is burning its error budget at over {burn.factor:g} times the allowed rate",
            description=f"{SHARE} of the last {burn.long}'s requests to {_NAMED} were answered with 5xx; "
            f"the objective allows {budget:.2%}.",
            impact="Customers' calls are failing; the objective for this period will be missed.",
            page=of_service(ERRORS_PAGE),
            labels={"window": burn.long},
        )
    for burn in thresholds.burns:
        budget = round(1 - thresholds.speed_objective, 9)
        yield Alert(
            name="LatencyBurn",
            severity=burn.severity,
            expression=_burns(slow_share, burn, min(round(burn.factor * budget, 9), 0.9), thresholds),
            hold=burn.hold,
            summary=f"{_NAMED} is missing its latency objective",
            description=f"{SHARE} of the last {burn.long}'s requests to {_NAMED} took longer than "
            f"{thresholds.slow_s:g} s; the objective allows {budget:.0%}.",
            impact="Customers are waiting; the objective for this period will be missed.",
            page=of_service(ERRORS_PAGE),
            labels={"window": burn.long},
        )


def failed_share(window: str) -> str:
    """Return the name of the recorded share of requests answered with 5xx."""
    return _recorded(REQUESTS, "failed", window)


def slow_share(window: str) -> str:
    """Return the name of the recorded share of requests slower than the objective."""
    return _recorded(DURATION, "slow", window)


def _recorded(metric: Metric, what: str, window: str) -> str:
    return f"{JOB}:{metric.prometheus_name.removesuffix('_total')}_{what}:ratio_rate{window}"


def _failed(window: str) -> str:
    # Not the request counter: its series are per key, so most errors begin a series, and `rate` misses the first value.
    errors, every = (
        observations("rate", DURATION, *where, by=_SERVICE, window=window)
        for where in ((is_(STATUS_CLASS, "5xx"),), ())
    )
    return ratio(errors, every)


def _slow(window: str, slow_s: float) -> str:
    return share_above(slow_s, DURATION, by=_SERVICE, window=window)


def _requests(window: str) -> str:
    return f"{JOB}:{REQUESTS.prometheus_name.removesuffix('_total')}:increase{window}"


def _answered(window: str) -> str:
    return observations("increase", DURATION, by=_SERVICE, window=window)


def _burns(share_in: Callable[[str], str], burn: Burn, share: float, thresholds: Thresholds) -> str:
    """Return the condition; in a quiet night, a single failure is a large share but nothing to get up for."""
    long, short = share_in(burn.long), share_in(burn.short)
    often = f"{long} * {_requests(burn.long)} >= {thresholds.burn_requests}"
    return f"{long} > {share} and {short} > {share} and {often}"
