"""The Key detail dashboard: everything about one key, down to its last calls."""

from __future__ import annotations

from keygauge import service_metrics as service
from keygauge.metrics import DECISIONS, KEY, LIMIT, OUTCOME, label
from keygauge_dashboards.alerts.keys import NORM, USE
from keygauge_dashboards.dashboards import requests
from keygauge_dashboards.dashboards.charts import answers, durations, failures, legend, tokens_by_model
from keygauge_dashboards.grafana.base import KEY_PAGE, drill, frame, ledger
from keygauge_dashboards.grafana.panel_types import bars, field, levels, limits, lines, ranking, stat, states, table
from keygauge_dashboards.grafana.panels import Json, Page, Prometheus, Section, View
from keygauge_dashboards.promql.queries import JOB, Match, like, limit_share, named, owned, rate, used_up_in
from keygauge_dashboards.thresholds import Thresholds

UID = KEY_PAGE

_HEADER = """\
/* key.header */
SELECT name AS key, account_name AS account, plan_id AS plan, environment, status, created_at AS created,
    expires_at AS expires, last_used_at AS "last used", last_used_route AS "last endpoint"
FROM grafana.key
WHERE account_id = {accounts} AND id = {keys} AND status <> 'deleted'
ORDER BY last_used_at DESC NULLS LAST
LIMIT 200"""

_QUOTAS = """\
/* key.quotas */
SELECT quota.account_id AS account, coalesce(key.name, 'all keys') AS key, limit_name AS "limit", unit, period,
    used, amount, used::float8 / nullif(amount, 0) AS share, greatest(amount - used, 0) AS "left", resets_at AS resets
FROM grafana.quota LEFT JOIN grafana.key ON key.id = quota.key_id
WHERE quota.account_id = {accounts} AND (quota.key_id IS NULL OR quota.key_id = {keys})
ORDER BY share DESC NULLS LAST
LIMIT 200"""

_COST = """\
/* key.cost */
SELECT $__timeGroup(bucket, '$bucket') AS time, coalesce(nullif(name, ''), 'no model') AS metric,
    sum(cost_nanousd) / 1e9 AS cost
FROM {usage_by_model}
GROUP BY 1, 2
ORDER BY 1, 2"""

_ENDPOINTS = """\
/* key.endpoints */
SELECT name AS endpoint, sum(requests) AS requests, sum(failed) AS failed,
    sum(limited) AS limited, sum(duration_us) / 1e6 / sum(requests) AS "mean duration",
    sum(input_tokens + output_tokens) AS tokens, sum(cost_nanousd) / 1e9 AS cost
FROM {usage_by_endpoint}
GROUP BY name
ORDER BY requests DESC
LIMIT 100"""

_LAST = """\
/* key.last_calls */
SELECT time, route AS endpoint, status, error, model, duration_us / 1e6 AS duration,
    input_tokens + output_tokens AS tokens, ip, trace_id AS trace
FROM grafana.event
WHERE $__timeFilter(time) AND {picked_calls}
ORDER BY time DESC
LIMIT 50"""


def key(thresholds: Thresholds) -> Page:
    """Make the dashboard."""
    return frame(
        UID,
        "API key: detail",
        "One key (or a few): its plan, limits, traffic, errors, tokens, cost and last calls.",
        [
            Section("The key", _header()),
            Section("Limits", _limits(thresholds)),
            Section("Requests, errors, duration", [answers(), failures(thresholds), durations(), _norm()]),
            Section("Tokens and cost", _tokens()),
            Section("Calls", _calls()),
        ],
    )


def _header() -> list[View]:
    return [
        table(
            "Which keys are these?",
            "Owner, plan, state, expiry and last use of the picked keys.",
            ledger(_HEADER),
            width=24,
            overrides=[states("status", active="green", disabled="orange", suspended="red")],
        )
    ]


def _limits(thresholds: Thresholds) -> list[View]:
    refused = rate(DECISIONS, like(OUTCOME, "limited|quota"), by=(LIMIT, OUTCOME))
    return [
        ranking(
            "How much of each limit is used?",
            "Share of every limit and quota that is used in its current period; 100% means refusals.",
            Prometheus(f"sort_desc({owned(limit_share())})", "{{name}}: {{limit}}", instant=True),
            unit="percentunit",
            colours=limits(thresholds.quota_warning, thresholds.quota_critical),
            full=1,
            width=6,
            alerts=("QuotaHigh", "CostBudget"),
        ),
        stat(
            "When is the first quota used up?",
            "Time until the first daily or monthly quota is used up, if use goes on as in the last hour.",
            Prometheus(f"min({used_up_in(Match(service.PERIOD, '!=', ''))}) < {90 * 86_400}", instant=True),
            unit="s",
            colours=_soon_is_bad(),
            no_value="not soon",
            width=4,
            height=8,
            empty_is_fine="no quota grows fast enough to be used up within 90 days",
            alerts=("QuotaExhaustsBeforeReset", "CostForecast"),
        ),
        table(
            "When do quotas reset?",
            "Budgets of the current UTC day or month: used, left, and when the period ends.",
            ledger(_QUOTAS),
            width=8,
            overrides=[
                levels(
                    "share", limits(thresholds.quota_warning, thresholds.quota_critical), unit="percentunit", decimals=1
                )
            ],
        ),
        bars(
            "What is refused by which limit?",
            "Calls a second answered with 429, by limit.",
            [Prometheus(refused, f"{legend(LIMIT)} {legend(OUTCOME)}")],
            unit="reqps",
            calcs=("mean", "max"),
            width=6,
            empty_is_fine="nothing is refused when clients keep to their limits",
            alerts=("KeyRateLimited",),
        ),
    ]


def _soon_is_bad() -> Json:
    steps = [
        {"color": "red", "value": None},
        {"color": "yellow", "value": 86_400},
        {"color": "green", "value": 604_800},
    ]
    return {"thresholds": {"mode": "absolute", "steps": steps}}


def _norm() -> View:
    use, norm = (f'{name}{{{JOB}=~"$job", {label(KEY)}=~"$key"}}' for name in (USE, NORM))
    return lines(
        "Is it used as ever?",
        "Requests within the last hour, and the average of that over seven days.",
        [
            Prometheus(named(f"sum by ({label(KEY)}) ({use})"), "{{name}}"),
            Prometheus(named(f"sum by ({label(KEY)}) ({norm})"), "{{name}}: its norm"),
        ],
        unit="short",
        calcs=("lastNotNull", "max"),
        width=24,
        alerts=("UsageSpike", "NewKeyHot"),
    )


def _tokens() -> list[View]:
    return [
        tokens_by_model(),
        bars(
            "What does it cost over time?",
            "Cost in each bar (UTC) by model in US dollars, from the ledger.",
            [ledger(_COST, over_time=True)],
            unit="currencyUSD",
        ),
        table(
            "Which endpoints are called?",
            "Requests, failures, mean duration, tokens and cost by endpoint, from the ledger.",
            ledger(_ENDPOINTS),
            width=8,
            overrides=[field("mean duration", unit="s", decimals=2), field("cost", unit="currencyUSD")],
        ),
    ]


def _calls() -> list[View]:
    last = table(
        "What were the last calls?",
        "The 50 newest calls; a click opens the whole log.",
        ledger(_LAST),
        width=24,
        overrides=[levels("status", limits(400, 500)), field("duration", unit="s", decimals=3)],
    )
    return [drill(last, "Open the log", requests.UID)]
