"""Panels shared by several dashboards."""

from __future__ import annotations

from typing import Any

from keygauge.metrics import COST, DURATION, KEY, MODEL, REQUESTS, ROUTE, STATUS, TOKENS, label
from keygauge_dashboards.grafana.base import PER_SECOND, SERIES, VALUE, cell, drill, ledger, link, of_label
from keygauge_dashboards.grafana.panel_types import (
    BY_NAME,
    STATUS_COLOURS,
    bars,
    coloured,
    field,
    hidden,
    limits,
    lines,
    numbers,
    status,
    table,
)
from keygauge_dashboards.grafana.panels import Json, Prometheus, View
from keygauge_dashboards.promql.histograms import quantile
from keygauge_dashboards.promql.queries import (
    RATE,
    Match,
    gained,
    is_,
    like,
    model_named,
    or_zero,
    rate,
    ratio,
    share_now,
)
from keygauge_dashboards.thresholds import Thresholds
from keygauge_dashboards.uids import ERRORS_PAGE, KEY_PAGE, LOG_PAGE

SERVER_ERROR = like(STATUS, "5..")
LIMITED = is_(STATUS, "429")
FAILED = share_now(gained(REQUESTS, SERVER_ERROR, window=RATE), gained(REQUESTS, window=RATE))
DOLLARS = "currencyUSD"
QUANTILES = {"p50": "blue", "p95": "purple", "p99": "orange"}

_CLASSES: dict[str, Match] = {
    "2xx": like(STATUS, "[123].."),
    "4xx": like(STATUS, "4.[0-8]|4[013-9]9"),
    "429": LIMITED,
    "5xx": SERVER_ERROR,
}

_TOTALS = """\
/* charts.totals */
WITH used AS (
    SELECT sum(requests) AS requests, sum(input_tokens) AS input, sum(output_tokens) AS output,
        sum(cost_nanousd) / 1e9 AS cost,
        extract(epoch FROM $__timeTo()::timestamptz - {first}) / 60 AS minutes
    FROM {usage_by_model}
)
SELECT coalesce(requests, 0)::float8 AS "Requests", coalesce(requests / minutes, 0)::float8 AS "Requests/min",
    coalesce(input, 0)::float8 AS "Input tokens", coalesce(output, 0)::float8 AS "Output tokens",
    coalesce((input + output) / minutes, 0)::float8 AS "Tokens/min",
    coalesce((input + output) / nullif(requests, 0), 0)::float8 AS "Tokens/request",
    coalesce(input::float8 / nullif(output, 0), 0) AS "Input/output", coalesce(cost, 0)::float8 AS "Cost"
FROM used"""

_REQUESTS = """\
/* charts.requests */
SELECT $__timeGroup(bucket, $__interval) AS time, sum(requests - failed - limited - refused) AS "2xx",
    sum(refused) AS "4xx", sum(limited) AS "429", sum(failed) AS "5xx"
FROM {usage_by_endpoint}
GROUP BY 1
ORDER BY 1"""

_TOKENS = """\
/* charts.tokens */
SELECT $__timeGroup(bucket, $__interval) AS time, sum(input_tokens - cache_read_tokens) AS "input",
    sum(cache_read_tokens) AS "cached input", sum(output_tokens) AS "output"
FROM {usage_by_model}
GROUP BY 1
ORDER BY 1"""

_BY_MODEL = """\
/* charts.{what} */
SELECT $__timeGroup(bucket, $__interval) AS time, coalesce(nullif(name, ''), '{no_model}') AS metric,
    sum({column}) AS value
FROM {usage_by_model}
GROUP BY 1, 2
ORDER BY 1, 2"""

_CALLS = """\
/* charts.calls */
SELECT time,{key}
    route AS endpoint, status, coalesce(limit_name, error) AS error, model, duration_us / 1e6 AS latency,
    input_tokens + output_tokens AS tokens, cost_nanousd / 1e9 AS cost, ip, trace_id AS trace
FROM (
    SELECT * FROM grafana.event
    WHERE $__timeFilter(time) AND {selected_calls}{more}
    ORDER BY time DESC, id DESC
    LIMIT {most}
) AS call
ORDER BY time DESC, id DESC"""


_KEY_COLUMNS = """
    key_id, coalesce((SELECT name FROM grafana.key WHERE key.id = call.key_id), key_id) AS key,"""


def requests_per_second() -> View:
    """Show requests per second by status class."""
    view = lines(
        "Requests/s by status",
        "How are requests answered? 2xx is everything below 400; 429 is refused by a limit.",
        [Prometheus(or_zero(rate(REQUESTS, match)), kind) for kind, match in _CLASSES.items()],
        unit=PER_SECOND,
        stacked=True,
        overrides=coloured(STATUS_COLOURS),
    )
    return drill(view, "Calls with this status", LOG_PAGE, status=SERIES)


def error_rate(thresholds: Thresholds) -> View:
    """Show the share of errors by endpoint."""
    share = ratio(*(gained(REQUESTS, *where, by=(ROUTE,), window=RATE) for where in ((SERVER_ERROR,), ())))
    view = lines(
        "Error rate by endpoint",
        "Which endpoints answer with 5xx? The dashed lines are the warning and critical thresholds.",
        [Prometheus(share, legend(ROUTE))],
        unit="percentunit",
        colours=limits(thresholds.error_share_warning, thresholds.error_share_critical),
        alerts=("ErrorBudgetBurn",),
    )
    return drill(view, "Failed calls of this endpoint", LOG_PAGE, endpoint=of_label(ROUTE), status="5xx")


def latency(uid: str = ERRORS_PAGE) -> View:
    """Show quantiles of durations; a click opens the dashboard `uid`."""
    view = lines(
        "Latency",
        "How long do requests take, from arrival to the last byte? Across all keys: durations have no key label.",
        [Prometheus(quantile(share / 100, DURATION), f"p{share}") for share in (50, 95, 99)],
        unit=DURATION.unit,
        overrides=coloured(QUANTILES),
        alerts=("LatencyBurn",),
    )
    return drill(view, "Latency by endpoint" if uid == ERRORS_PAGE else "Calls", uid)


def cost_per_hour(**view: Any) -> View:
    """Show cost per hour by model."""
    drawn = lines(
        "Cost/h by model",
        "How fast is money spent, in US dollars per hour, as the services count it?",
        [Prometheus(f"3600 * {model_named(rate(COST, by=(MODEL,)))}", legend(MODEL))],
        unit=DOLLARS,
        stacked=True,
        colour=BY_NAME,
        **view,
    )
    return drill(drawn, "Calls of this model", LOG_PAGE, model=of_label(MODEL))


def tokens_per_minute(**view: Any) -> View:
    """Show tokens per minute by model."""
    drawn = lines(
        "Tokens/min by model",
        "Which models use the tokens, input and output together?",
        [Prometheus(f"60 * {model_named(rate(TOKENS, by=(MODEL,)))}", legend(MODEL))],
        unit="short",
        stacked=True,
        colour=BY_NAME,
        **view,
    )
    return drill(drawn, "Calls of this model", LOG_PAGE, model=of_label(MODEL))


def totals() -> View:
    """Show sums and averages over the time range."""
    ones = {"Cost": DOLLARS}
    short = ("Requests/min", "Tokens/min", "Tokens/request", "Input/output")
    return numbers(
        "Totals of the time range",
        "How much was used in the selected time range, in total and per minute, and what did it cost? Includes the "
        "whole quarter hour in which the range begins.",
        [ledger(_TOTALS)],
        unit="short",
        width=24,
        overrides=[
            *(field(name, unit=unit) for name, unit in ones.items()),
            *(field(name, decimals=1) for name in short),
        ],
    )


def requests_over_time(**view: Any) -> View:
    """Show exact requests by status class."""
    drawn = bars(
        "Requests",
        "How many requests were made in each interval (UTC), by kind of answer? A day is shown by the hour.",
        [ledger(_REQUESTS, over_time=True)],
        unit="short",
        overrides=coloured(STATUS_COLOURS),
        **view,
    )
    return drill(drawn, "Calls with this status", LOG_PAGE, status=SERIES)


def tokens_over_time(**view: Any) -> View:
    """Show exact input and output tokens."""
    drawn = bars(
        "Tokens",
        "How many tokens were used in each interval (UTC)? Cached input is shown separately.",
        [ledger(_TOKENS, over_time=True)],
        unit="short",
        overrides=coloured({"input": "blue", "cached input": "light-blue", "output": "purple"}),
        **view,
    )
    return drill(drawn, "Calls", LOG_PAGE)


def by_model(title: str, description: str, column: str, *, unit: str, what: str, **view: Any) -> View:
    """Show sums of a usage column by model."""
    drawn = bars(
        title,
        description,
        [ledger(_BY_MODEL, over_time=True, what=what, column=column)],
        unit=unit,
        colour=BY_NAME,
        **view,
    )
    return drill(drawn, "Calls of this model", LOG_PAGE, model=SERIES)


def cost_by_model(**view: Any) -> View:
    """Show exact cost by model."""
    column = "cost_nanousd / 1e9"
    return by_model("Cost by model", "What did each model cost?", column, unit=DOLLARS, what="cost", **view)


def calls(title: str, description: str, *, most: int, more: str = "", of_key: bool = False, **view: Any) -> View:
    """List single calls, filtered by the conditions in `more`; with `of_key`, without the key's name."""
    newer = link("Older calls", LOG_PAGE, before=VALUE)
    return table(
        title,
        description,
        ledger(_CALLS, most=most, more=more, key="" if of_key else _KEY_COLUMNS),
        width=24,
        widths=_CALL_WIDTHS,
        overrides=[
            field("time", links=[newer]),
            *([] if of_key else [*hidden("key_id"), to_key_of("key", "key_id")]),
            field("trace", links=[link("Calls of this trace", LOG_PAGE, trace=VALUE)]),
            field("latency", unit="s"),
            field("tokens", unit="short"),
            field("cost", unit=DOLLARS, decimals=4),
            status("status"),
        ],
        **view,
    )


# They fit a screen of 1,280 pixels with Grafana's menu, if each of the other columns takes 95.
_CALL_WIDTHS = {"time": 195, "status": 60, "latency": 75, "tokens": 65, "cost": 75, "trace": 55}


def to_key(view: View) -> View:
    """Link a key's bar or line to its dashboard."""
    return drill(view, "Open key", KEY_PAGE, key=of_label(KEY))


def to_key_of(column: str, key_id: str) -> Json:
    """Link a column with a key's name to the key's dashboard, using a column with its id."""
    return field(column, links=[link("Open key", KEY_PAGE, key=cell(key_id))])


def to_calls_from(column: str) -> Json:
    """Link a column of client addresses to the calls from that address."""
    return field(column, links=[link("Calls from this address", LOG_PAGE, address=VALUE)])


def legend(attribute: str) -> str:
    """Return the legend that names lines by a label."""
    return f"{{{{{label(attribute)}}}}}"
