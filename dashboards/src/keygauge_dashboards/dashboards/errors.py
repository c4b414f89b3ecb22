"""The Errors dashboard: are the objectives met, and if not, what misses them?"""

from __future__ import annotations

from dataclasses import replace

from keygauge.metrics import DURATION, ERROR, KEY, MODEL, REQUESTS, ROUTE, STATUS, label
from keygauge_dashboards.alerts.services import failed_share, slow_share
from keygauge_dashboards.dashboards.charts import (
    SERVER_ERROR,
    error_rate,
    latency,
    legend,
    requests_per_second,
    to_key,
)
from keygauge_dashboards.grafana.base import SERIES, VALUE, dashboard, drill, link
from keygauge_dashboards.grafana.panel_types import (
    BY_NAME,
    field,
    fields_like,
    heatmap,
    limits,
    lines,
    matrix,
    ranking,
    stat,
)
from keygauge_dashboards.grafana.panels import Json, Page, Prometheus, Section, View
from keygauge_dashboards.promql.histograms import distribution, quantile
from keygauge_dashboards.promql.queries import ENV, JOB, RATE, gained, model_named, named, ratio
from keygauge_dashboards.thresholds import Thresholds
from keygauge_dashboards.uids import ERRORS_PAGE, LOG_PAGE

UID = ERRORS_PAGE
_CHOSEN = f'{{{JOB}=~"$job", {ENV}=~"$env"}}'
_NO_ERRORS = "no request was answered with 5xx"


def errors(thresholds: Thresholds) -> Page:
    """Build the dashboard."""
    return dashboard(
        UID,
        "Errors and latency",
        "Does each service meet its objectives, and if not, which endpoints, models and keys miss them?",
        [
            Section("Errors", _errors(thresholds)),
            Section("Latency", _latency()),
            Section("Objectives", _objectives(thresholds)),
        ],
    )


def _errors(thresholds: Thresholds) -> list[View]:
    shares = ratio(*(gained(REQUESTS, *where, by=(MODEL,), window=RATE) for where in ((SERVER_ERROR,), ())))
    by_kind = gained(REQUESTS, SERVER_ERROR, by=(ERROR,), window=RATE)
    return [
        requests_per_second(),
        error_rate(thresholds),
        drill(
            lines(
                "Error rate by model",
                "Which models fail? A failed call counts for the model that was requested.",
                [Prometheus(model_named(shares), legend(MODEL))],
                unit="percentunit",
                colour=BY_NAME,
                colours=limits(thresholds.error_share_warning, thresholds.error_share_critical),
            ),
            "Failed calls of this model",
            LOG_PAGE,
            model=SERIES,
            status="5xx",
        ),
        drill(
            lines(
                "Errors by kind",
                "What kinds of errors are there: exceptions, refusals, statuses? Each point covers four scrapes.",
                [Prometheus(by_kind, legend(ERROR))],
                unit="short",
                calcs=("max", "lastNotNull"),
                stacked=True,
                width=5,
                empty_is_fine=_NO_ERRORS,
            ),
            "Failed calls",
            LOG_PAGE,
            status="5xx",
        ),
        to_key(
            ranking(
                "Errors by key",
                "Which ten keys got the most 5xx in the selected time range?",
                Prometheus(
                    named(f"topk(10, {gained(REQUESTS, SERVER_ERROR, by=(KEY,))} > 0)"), "{{name}}", instant=True
                ),
                unit="locale",
                width=7,
                empty_is_fine=_NO_ERRORS,
            )
        ),
        _by_endpoint_and_status(),
    ]


def _by_endpoint_and_status() -> View:
    to_endpoint = link("Calls of this endpoint", LOG_PAGE, endpoint=VALUE)
    to_status = link("Calls with this status", LOG_PAGE, endpoint="${__data.fields[0]:percentencode}", status=SERIES)
    return matrix(
        "Requests by endpoint and status",
        "How does each endpoint answer in the selected time range?",
        Prometheus(gained(REQUESTS, by=(ROUTE, STATUS)), instant=True, table=True),
        row=label(ROUTE),
        column=label(STATUS),
        unit="locale",
        width=12,
        overrides=[
            field(
                f"{label(ROUTE)}\\{label(STATUS)}",
                displayName="endpoint",
                custom__minWidth=170,
                links=[to_endpoint],
            ),
            fields_like(r"/^\d{3}$/", custom__width=75, links=[to_status]),
        ],
    )


def _latency() -> list[View]:
    return [
        latency(LOG_PAGE),
        drill(
            lines(
                "Latency by endpoint (p95)",
                "Which endpoints are slow?",
                [Prometheus(quantile(0.95, DURATION, by=(ROUTE,)), legend(ROUTE))],
                unit=DURATION.unit,
            ),
            "Calls of this endpoint",
            LOG_PAGE,
            endpoint=SERIES,
        ),
        heatmap(
            "Latency distribution",
            "How are durations distributed over time? Dots are exemplars that link to a call.",
            Prometheus(distribution(DURATION), "{{le}}", heatmap=True),
            unit=DURATION.unit,
        ),
    ]


def _objectives(thresholds: Thresholds) -> list[View]:
    failing, slow = round(1 - thresholds.availability_objective, 9), round(1 - thresholds.speed_objective, 9)
    windows = list(dict.fromkeys(burn.long for burn in thresholds.burns))
    fires = ", ".join(f"{burn.factor:g} ({burn.long})" for burn in thresholds.burns)
    return [
        _budget(
            "Error budget left",
            f"How much of the {windows[-1]} budget is left? {failing:.2%} of requests may be answered with 5xx.",
            f"{failed_share(windows[-1])}{_CHOSEN} / {failing:g}",
            alerts=("ErrorBudgetBurn",),
        ),
        _burn(
            "Error budget burn rate",
            f"How fast does the budget burn? At 1 it lasts exactly its period; alerts fire at {fires}.",
            [Prometheus(f"max({failed_share(window)}{_CHOSEN}) / {failing:g}", window) for window in windows],
            thresholds,
            alerts=("ErrorBudgetBurn",),
        ),
        _budget(
            "Latency budget left",
            f"How much of the {windows[-1]} budget is left? {slow:.0%} of requests may exceed {thresholds.slow_s:g} s.",
            f"{slow_share(windows[-1])}{_CHOSEN} / {slow:g}",
            alerts=("LatencyBurn",),
        ),
        _burn(
            "Latency budget burn rate",
            "How fast does the budget burn? At 1 it lasts exactly its period.",
            [Prometheus(f"max({slow_share(window)}{_CHOSEN}) / {slow:g}", window) for window in windows],
            thresholds,
            alerts=("LatencyBurn",),
        ),
    ]


def _budget(title: str, description: str, spent: str, *, alerts: tuple[str, ...]) -> View:
    steps: list[Json] = [
        {"color": "red", "value": None},
        {"color": "yellow", "value": 0},
        {"color": "green", "value": 0.5},
    ]
    colours = {"thresholds": {"mode": "absolute", "steps": steps}}
    view = stat(
        title,
        description,
        Prometheus(f"min(1 - {spent})", instant=True),
        unit="percentunit",
        colours=colours,
        no_value="not known yet",
        alerts=alerts,
    )
    return replace(view, height=6)


def _burn(
    title: str, description: str, targets: list[Prometheus], thresholds: Thresholds, *, alerts: tuple[str, ...]
) -> View:
    colours = limits(1, thresholds.burns[0].factor)
    return lines(title, description, targets, unit="none", colours=colours, width=6, height=6, alerts=alerts)
