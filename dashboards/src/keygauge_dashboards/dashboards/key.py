"""The Key dashboard: everything about one key, down to its last calls, and nothing about other keys."""

from __future__ import annotations

from keygauge.metrics import DECISIONS, DURATION, KEY, LIMIT, OUTCOME, REQUESTS, label
from keygauge_dashboards.alerts.keys import NORM, USE
from keygauge_dashboards.dashboards.charts import (
    DOLLARS,
    FAILED,
    LIMITED,
    QUANTILES,
    calls,
    cost_by_model,
    error_rate,
    legend,
    requests_over_time,
    requests_per_second,
    to_calls_from,
    tokens_over_time,
    totals,
)
from keygauge_dashboards.dashboards.limits import limits_table
from keygauge_dashboards.grafana.base import VALUE, dashboard, drill, ledger, link
from keygauge_dashboards.grafana.panel_types import coloured, field, limits, lines, stat, states, table
from keygauge_dashboards.grafana.panels import Page, Prometheus, Section, View
from keygauge_dashboards.promql.queries import JOB, RATE, gained, like, named, rate, share_now
from keygauge_dashboards.thresholds import Thresholds
from keygauge_dashboards.uids import KEY_PAGE, LOG_PAGE, MODELS_PAGE

UID = KEY_PAGE

_HEADER = """\
/* key.header */
SELECT name AS key, account_name AS account, plan_id AS plan, environment, status, created_at AS created,
    expires_at AS expires, last_used_at AS "last used", last_used_ip AS "last address"
FROM grafana.key
WHERE account_id = {accounts} AND id = {keys}"""

_LATENCY = """\
/* key.latency */
SELECT bucket AS time, p50, p95, p99
FROM grafana.latency($__timeFrom()::timestamptz, $__timeTo()::timestamptz, '$__interval', {lists})
ORDER BY 1"""

_P95 = """\
/* key.p95 */
SELECT p95
FROM grafana.latency($__timeFrom()::timestamptz, $__timeTo()::timestamptz, '36500 days', {lists})
ORDER BY bucket DESC
LIMIT 1"""

_COST = """\
/* key.total_cost */
SELECT coalesce(sum(cost_nanousd), 0) / 1e9 AS cost
FROM {usage_by_model}"""

_ENDPOINTS = """\
/* key.endpoints */
SELECT name AS endpoint, sum(requests) AS requests, sum(failed) AS "5xx", sum(limited) AS "429",
    sum(duration_us) / 1e6 / sum(requests) AS latency, sum(input_tokens + output_tokens) AS tokens,
    sum(cost_nanousd) / 1e9 AS cost
FROM {usage_by_endpoint}
GROUP BY name
ORDER BY requests DESC
LIMIT 100"""

_ADDRESSES = """\
/* key.addresses */
SELECT ip AS address, count(*) AS requests, count(*) FILTER (WHERE status IN (400, 401, 403)) AS refused,
    count(*) FILTER (WHERE status = 429) AS "429", max(time) AS last
FROM grafana.event
WHERE $__timeFilter(time) AND outcome <> 'part' AND {selected_calls}
GROUP BY ip
ORDER BY requests DESC
LIMIT 100"""


def key(thresholds: Thresholds) -> Page:
    """Build the dashboard."""
    return dashboard(
        UID,
        "Key",
        "Everything about one key: its limits, traffic, errors, tokens, cost and latest calls.",
        [
            Section("Key", [_header(), *_state(thresholds)]),
            Section("Limits", [limits_table(thresholds, width=16), _refused()]),
            Section("Traffic, errors, latency", [requests_per_second(), error_rate(thresholds), _latency(), _norm()]),
            Section(
                "Tokens and cost",
                [
                    totals(),
                    tokens_over_time(),
                    cost_by_model(),
                    requests_over_time(),
                ],
            ),
            Section("Endpoints, addresses, calls", [_endpoints(), _addresses(), _calls()]),
        ],
    )


def _header() -> View:
    return table(
        "Key",
        "Whose key is this, on which plan, in which state, and when was it last used?",
        ledger(_HEADER),
        width=24,
        height=4,
        widths={"plan": 80, "environment": 105, "status": 75, "created": 125, "expires": 110, "last used": 150},
        overrides=[
            states("status", active="green", disabled="orange", suspended="red", deleted="red"),
            *(field(name, unit="dateTimeFromNow") for name in ("created", "expires", "last used")),
            field("expires", noValue="never"),
        ],
    )


def _state(thresholds: Thresholds) -> list[View]:
    limited = share_now(gained(REQUESTS, LIMITED, window=RATE), gained(REQUESTS, window=RATE))
    failed = stat(
        "Error rate",
        "What share of the key's requests is answered with 5xx?",
        Prometheus(FAILED),
        unit="percentunit",
        colours=limits(thresholds.error_share_warning, thresholds.error_share_critical),
    )
    refused = stat(
        "Rate-limited share",
        "What share of the key's requests is answered with 429?",
        Prometheus(limited),
        unit="percentunit",
        colours=limits(thresholds.limited_share, 0.5),
        alerts=("KeyRateLimited",),
    )
    slow = stat(
        "p95 latency",
        "How long did 95% of the key's requests take at most?",
        ledger(_P95),
        unit=DURATION.unit,
        colours=limits(thresholds.duration_warning_s, thresholds.duration_critical_s),
        height=5,
    )
    question = "What did the key's tokens cost in the selected time range?"
    cost = stat("Cost", question, ledger(_COST), unit=DOLLARS, height=5)
    return [
        drill(failed, "Failed calls", LOG_PAGE, status="5xx"),
        drill(refused, "Refused calls", LOG_PAGE, status="429"),
        drill(slow, "Calls", LOG_PAGE),
        drill(cost, "Models and cost", MODELS_PAGE),
    ]


def _refused() -> View:
    refused = rate(DECISIONS, like(OUTCOME, "limited|quota"), by=(LIMIT,))
    view = lines(
        "Rate limited/s by limit",
        "Which limits refuse the key's calls?",
        [Prometheus(refused, legend(LIMIT))],
        unit="reqps",
        stacked=True,
        empty_is_fine="no limit refused a call",
    )
    return drill(view, "Refused calls", LOG_PAGE, status="429")


def _latency() -> View:
    view = lines(
        "Latency",
        "How long do the key's requests take? Beyond six hours, each point covers 15 minutes or more.",
        [ledger(_LATENCY, over_time=True)],
        unit=DURATION.unit,
        overrides=coloured(QUANTILES),
    )
    return drill(view, "Calls", LOG_PAGE)


def _norm() -> View:
    use, norm = (f'{name}{{{JOB}=~"$job", {label(KEY)}=~"$key"}}' for name in (USE, NORM))
    view = lines(
        "Requests/hour vs. usual",
        "Is the key used as usual? Requests in the hour up to each point, and their average over seven days.",
        [
            Prometheus(named(f"sum by ({label(KEY)}) ({use})"), "{{name}}"),
            Prometheus(named(f"sum by ({label(KEY)}) ({norm})"), "{{name}}: usually"),
        ],
        unit="short",
        width=24,
        height=6,
        empty_is_fine="Prometheus has not recorded an hour of this key yet",
        alerts=("UsageSpike", "NewKeyHot"),
    )
    return drill(view, "Calls", LOG_PAGE)


def _endpoints() -> View:
    return table(
        "Endpoints",
        "Which endpoints does the key call, how often do they fail, how long do they take and what do they cost?",
        ledger(_ENDPOINTS),
        widths={"requests": 75, "5xx": 50, "429": 50, "latency": 75, "tokens": 65, "cost": 70},
        overrides=[
            field("endpoint", links=[link("Calls of this endpoint", LOG_PAGE, endpoint=VALUE)]),
            field("latency", unit="s"),
            field("tokens", unit="short"),
            field("cost", unit=DOLLARS, decimals=2),
        ],
    )


def _addresses() -> View:
    return table(
        "Client addresses",
        "Where is the key used from? Look into addresses that are new or refused repeatedly.",
        ledger(_ADDRESSES),
        widths={"requests": 75, "refused": 70, "429": 55, "last": 150},
        overrides=[to_calls_from("address"), field("last", unit="dateTimeFromNow")],
    )


def _calls() -> View:
    return calls("Last calls", "What are the key's 50 latest calls?", most=50, of_key=True, height=10)
