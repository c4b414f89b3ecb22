"""The Errors and latency dashboard: are the objectives met, and if not, where is it lost?"""

from __future__ import annotations

from keygauge.metrics import DURATION, ERROR, REQUESTS, ROUTE, STATUS, label
from keygauge_dashboards.alerts.services import failed_share, slow_share
from keygauge_dashboards.dashboards.charts import SERVER_ERROR, durations, failures, legend
from keygauge_dashboards.grafana.base import frame
from keygauge_dashboards.grafana.panel_types import bars, heatmap, limits, lines, matrix, stat
from keygauge_dashboards.grafana.panels import Page, Prometheus, Section, View
from keygauge_dashboards.promql.queries import JOB, RATE, gained, quantile, select
from keygauge_dashboards.thresholds import Thresholds

UID = "keygauge-errors"


def errors(thresholds: Thresholds) -> Page:
    """Make the dashboard."""
    return frame(
        UID,
        "API keys: errors and latency",
        "The objectives of each service, how fast their budgets burn, and which endpoints burn them.",
        [
            Section("Objectives", _objectives(thresholds)),
            Section("Errors", _errors(thresholds)),
            Section("Latency", _latency()),
        ],
    )


def _objectives(thresholds: Thresholds) -> list[View]:
    failing, slow = 1 - thresholds.availability_objective, 1 - thresholds.speed_objective
    windows = list(dict.fromkeys(burn.long for burn in thresholds.burns))
    failed, slowed = (f'{name(windows[-1])}{{{JOB}=~"$job"}}' for name in (failed_share, slow_share))
    return [
        stat(
            "How much of the error budget is left?",
            f"Of the last {windows[-1]}'s budget: {failing:.2%} of requests may be answered with 5xx.",
            Prometheus(f"min(1 - {failed} / {failing:.6g})", instant=True),
            unit="percentunit",
            colours=_left(),
            width=4,
            alerts=("ErrorBudgetBurn",),
        ),
        stat(
            "How much of the speed budget is left?",
            f"Of the last {windows[-1]}'s budget: {slow:.0%} of requests may take longer than {thresholds.slow_s:g} s.",
            Prometheus(f"min(1 - {slowed} / {slow:.6g})", instant=True),
            unit="percentunit",
            colours=_left(),
            width=4,
            alerts=("LatencyBurn",),
        ),
        lines(
            "How fast does the error budget burn?",
            "1 uses it up exactly in its period; the alerts fire at "
            + ", ".join(f"{burn.factor:g} ({burn.long})" for burn in thresholds.burns)
            + ".",
            [Prometheus(f'max({failed_share(window)}{{{JOB}=~"$job"}}) / {failing:.6g}', window) for window in windows],
            unit="none",
            colours=limits(1, thresholds.burns[0].factor),
            alerts=("ErrorBudgetBurn",),
        ),
        lines(
            "How fast does the speed budget burn?",
            "1 uses it up exactly in its period.",
            [Prometheus(f'max({slow_share(window)}{{{JOB}=~"$job"}}) / {slow:.6g}', window) for window in windows],
            unit="none",
            colours=limits(1, thresholds.burns[0].factor),
            alerts=("LatencyBurn",),
        ),
    ]


def _left() -> dict[str, object]:
    steps = [{"color": "red", "value": None}, {"color": "yellow", "value": 0}, {"color": "green", "value": 0.5}]
    return {"thresholds": {"mode": "absolute", "steps": steps}}


def _errors(thresholds: Thresholds) -> list[View]:
    return [
        failures(thresholds),
        bars(
            "What are the errors?",
            "Requests answered with 5xx up to each point, since four scrapes before: by exception or refusal.",
            [
                Prometheus(
                    gained(REQUESTS, SERVER_ERROR, by=(ERROR, ROUTE), window=RATE), f"{legend(ERROR)} {legend(ROUTE)}"
                )
            ],
            unit="short",
            calcs=("max", "lastNotNull"),
            empty_is_fine="there are no errors when all is well",
        ),
        matrix(
            "Which endpoint answers what?",
            "Requests in the picked time range by endpoint and status.",
            Prometheus(gained(REQUESTS, by=(ROUTE, STATUS)), instant=True, table=True),
            row=label(ROUTE),
            column=label(STATUS),
            unit="short",
        ),
    ]


def _latency() -> list[View]:
    buckets = f"sum by (le) (increase({select(DURATION, part='_bucket')}[{RATE}]))"
    return [
        heatmap(
            "How are durations spread?",
            "Requests by duration over time; dots are exemplars, which lead to a trace.",
            Prometheus(buckets, "{{le}}", heatmap=True),
            unit=DURATION.unit,
        ),
        durations(),
        lines(
            "Which endpoints are slow?",
            "95th percentile by endpoint.",
            [Prometheus(quantile(0.95, DURATION, by=(ROUTE,)), legend(ROUTE))],
            unit=DURATION.unit,
        ),
    ]
