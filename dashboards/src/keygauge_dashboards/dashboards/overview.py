"""The Overview dashboard: is the API healthy, which alerts are firing, and who uses it?"""

from __future__ import annotations

from keygauge.metrics import (
    DURATION,
    KEY,
    MODEL,
    REQUEST_SIZE,
    REQUESTS,
    RESPONSE_SIZE,
    STREAM,
    STREAM_ACTIVE,
    STREAM_DURATION,
    STREAM_MESSAGES,
    TOKENS,
)
from keygauge_dashboards.alerts.keys import NO_KEY
from keygauge_dashboards.dashboards.charts import (
    DOLLARS,
    FAILED,
    LIMITED,
    cost_per_hour,
    error_rate,
    latency,
    legend,
    requests_over_time,
    requests_per_second,
    to_key,
    to_key_of,
    tokens_per_minute,
    totals,
)
from keygauge_dashboards.dashboards.firing import firing_alerts, rows_to_act_on
from keygauge_dashboards.grafana.base import PER_SECOND, SERIES, dashboard, drill, ledger
from keygauge_dashboards.grafana.panel_types import field, hidden, limits, lines, numbers, ranking, stat, table
from keygauge_dashboards.grafana.panels import Page, Prometheus, Section, View
from keygauge_dashboards.promql.histograms import quantile
from keygauge_dashboards.promql.queries import (
    gained,
    limit_share,
    model_named,
    named,
    or_zero,
    rate,
    ratio,
    select,
    total,
    unlike,
)
from keygauge_dashboards.thresholds import Thresholds
from keygauge_dashboards.uids import (
    ERRORS_PAGE,
    HEALTH_PAGE,
    KEYS_PAGE,
    LIMITS_PAGE,
    LOG_PAGE,
    MODELS_PAGE,
    OVERVIEW,
)

UID = OVERVIEW
_KEY_WIDTHS = {"requests": 80, "5xx": 50, "429": 55, "input": 70, "output": 70, "cost": 70}
_KEY_WIDTHS |= {"total tokens": 100, "tokens/request": 120}

_COST_TODAY = """\
/* overview.cost_today */
SELECT coalesce(sum(cost_nanousd), 0) / 1e9 AS cost
FROM grafana.usage('model', date_trunc('day', now(), 'UTC'), now() + interval '1 day', '1d', NULL)
WHERE {selected}"""

_KEYS = """\
/* overview.keys */
SELECT key_id, coalesce(min(key.name), key_id) AS key, min(key.account_name) AS account, sum(requests) AS requests,
    sum(failed) AS "5xx", sum(limited) AS "429", sum(input_tokens) AS input, sum(output_tokens) AS output,
    sum(input_tokens + output_tokens) AS "total tokens",
    sum(input_tokens + output_tokens)::float8 / sum(requests) AS "tokens/request", sum(cost_nanousd) / 1e9 AS cost
FROM (SELECT * FROM {usage_by_model}) AS used LEFT JOIN grafana.key ON key.id = used.key_id
GROUP BY key_id
ORDER BY requests DESC
LIMIT 100"""

_NINETY_DAYS = """\
/* overview.ninety_days */
WITH used AS (
    SELECT sum(requests)::float8 AS requests, sum(duration_us) / 1e6 AS duration, sum(failed) AS failed,
        sum(limited)::float8 AS limited, sum(input_tokens + output_tokens)::float8 AS tokens,
        sum(cost_nanousd) / 1e9 AS cost,
        greatest(1, extract(epoch FROM $__timeTo()::timestamptz - min(bucket)) / 86400)::float8 AS days
    FROM grafana.usage('route', $__timeFrom()::timestamptz, $__timeTo()::timestamptz, '1d', NULL)
    WHERE {selected}
)
SELECT requests / days AS "Requests/day", duration / requests AS "Mean latency", failed / requests AS "Error rate",
    limited AS "Rate limited", tokens / days AS "Tokens/day", cost / days AS "Cost/day"
FROM used"""


def overview(thresholds: Thresholds, runbook: str) -> Page:
    """Build the dashboard."""
    return dashboard(
        UID,
        "Overview",
        "Is the API healthy, which alerts are firing, and who uses it?",
        [
            Section("Now", [*_traffic(thresholds), *_spending(), *_to_watch(thresholds)]),
            Section("Alerts", [firing_alerts(runbook)]),
            Section("Traffic, errors, latency", [requests_per_second(), error_rate(thresholds), latency()]),
            Section("Tokens and cost", [tokens_per_minute(width=12), cost_per_hour(width=12)]),
            Section("Keys and models", _who(thresholds)),
            Section("Usage", [totals(), requests_over_time(width=24, height=7), _ninety_days()]),
            Section("Streams and payloads", _streams()),
        ],
    )


def _traffic(thresholds: Thresholds) -> list[View]:
    return [
        drill(
            stat(
                "Requests/s",
                "How many requests are answered per second, with any status?",
                Prometheus(rate(REQUESTS)),
                unit=PER_SECOND,
            ),
            "Calls",
            LOG_PAGE,
        ),
        drill(
            stat(
                "Error rate",
                "What share of requests is answered with 5xx? Refusals (401, 403, 429) don't count as errors.",
                Prometheus(FAILED),
                unit="percentunit",
                colours=limits(thresholds.error_share_warning, thresholds.error_share_critical),
                alerts=("ErrorBudgetBurn",),
            ),
            "Errors",
            ERRORS_PAGE,
        ),
        drill(
            stat(
                "p95 latency",
                "How long do 95% of requests take at most, to the last byte? Durations have no key label.",
                Prometheus(quantile(0.95, DURATION)),
                unit=DURATION.unit,
                colours=limits(thresholds.duration_warning_s, thresholds.duration_critical_s),
                alerts=("LatencyBurn",),
            ),
            "Latency",
            ERRORS_PAGE,
        ),
    ]


def _spending() -> list[View]:
    return [
        drill(
            stat(
                "Tokens/min",
                "How many tokens are used per minute, input and output together?",
                Prometheus(f"60 * {rate(TOKENS)}"),
                unit="short",
                no_value="0",
            ),
            "Models",
            MODELS_PAGE,
        ),
        drill(
            stat(
                "Cost today (UTC)",
                "What did today's tokens cost, in US dollars?",
                ledger(_COST_TODAY),
                unit=DOLLARS,
                no_value="0",
            ),
            "Cost by model",
            MODELS_PAGE,
        ),
    ]


def _to_watch(thresholds: Thresholds) -> list[View]:
    active = f"count({gained(REQUESTS, unlike(KEY, NO_KEY), by=(KEY,))} > 0) or vector(0)"
    return [
        drill(
            stat(
                f"Limits over {thresholds.quota_warning:.0%}",
                "How many limits and quotas are almost used up in their current period?",
                Prometheus(or_zero(f"count({limit_share()} > {thresholds.quota_warning})"), instant=True),
                unit="none",
                colours=limits(1),
                alerts=("QuotaHigh", "CostBudget"),
            ),
            "Limits and quotas",
            LIMITS_PAGE,
        ),
        drill(
            stat(
                "Pages and tickets",
                "How many firing alerts need someone to act? The table below shows informational ones too.",
                Prometheus(or_zero(rows_to_act_on()), instant=True),
                unit="none",
                colours=limits(1, 3),
            ),
            "KeyGauge health",
            HEALTH_PAGE,
        ),
        drill(
            stat(
                "Keys in use",
                "How many keys made a request in the selected time range?",
                Prometheus(active, instant=True),
                unit="none",
            ),
            "Keys",
            KEYS_PAGE,
        ),
    ]


def _who(thresholds: Thresholds) -> list[View]:
    limited = ratio(gained(REQUESTS, LIMITED, by=(KEY,)), gained(REQUESTS, by=(KEY,)))
    models = ranking(
        "Top models by tokens",
        "Which ten models used the most tokens in the selected time range, input and output together?",
        Prometheus(f"topk(10, {model_named(gained(TOKENS, by=(MODEL,)))})", legend(MODEL), instant=True),
        unit="short",
    )
    return [
        to_key(
            ranking(
                "Top keys by requests",
                "Which ten keys made the most requests in the selected time range?",
                Prometheus(named(f"topk(10, {gained(REQUESTS, by=(KEY,))})"), "{{name}}", instant=True),
                unit="locale",
                alerts=("UsageSpike", "NewKeyHot"),
            )
        ),
        drill(models, "Calls of this model", LOG_PAGE, model=SERIES),
        to_key(
            ranking(
                "Rate-limited share by key",
                "Which ten keys had the largest share of 429s in the selected time range?",
                Prometheus(named(f"topk(10, {limited} > 0)"), "{{name}}", instant=True),
                unit="percentunit",
                colours=limits(thresholds.limited_share, 0.5),
                full=1,
                empty_is_fine="no key was rate limited",
                alerts=("KeyRateLimited",),
            )
        ),
        table(
            "Keys",
            "What did each key use in the selected time range? The 100 keys with the most requests.",
            ledger(_KEYS),
            width=24,
            widths=_KEY_WIDTHS,
            overrides=[
                *hidden("key_id"),
                to_key_of("key", "key_id"),
                *(field(name, unit="short") for name in ("requests", "5xx", "429", "input", "output", "total tokens")),
                field("tokens/request", decimals=0),
                field("cost", unit=DOLLARS, decimals=2),
            ],
        ),
    ]


def _ninety_days() -> View:
    return numbers(
        "Last 90 days",
        "What is usual? Averages over ninety days, or since the first call, regardless of the selected time range.",
        [ledger(_NINETY_DAYS)],
        unit="short",
        width=24,
        last="90d",
        overrides=[
            field("Mean latency", unit="s", decimals=2),
            field("Error rate", unit="percentunit", decimals=2),
            field("Cost/day", unit=DOLLARS),
        ],
    )


def _streams() -> list[View]:
    return [
        lines(
            "Open streams",
            "How many server-sent event streams and WebSockets are open?",
            [Prometheus(total(STREAM_ACTIVE, select(STREAM_ACTIVE), (STREAM,)), legend(STREAM))],
            unit="short",
            width=6,
        ),
        lines(
            "Stream duration (p95)",
            "How long are 95% of the streams of each kind open at most?",
            [Prometheus(quantile(0.95, STREAM_DURATION, by=(STREAM,)), legend(STREAM))],
            unit="s",
            width=6,
            empty_is_fine="no stream ended",
        ),
        lines(
            "Stream messages/s",
            "How many messages are sent on streams per second?",
            [Prometheus(rate(STREAM_MESSAGES, by=(STREAM,)), legend(STREAM))],
            unit="cps",
            width=6,
            empty_is_fine="no stream was opened",
        ),
        lines(
            "Payload",
            "How many bytes of request and response bodies pass per second?",
            [Prometheus(rate(REQUEST_SIZE), "requests"), Prometheus(rate(RESPONSE_SIZE), "responses")],
            unit="Bps",
            width=6,
        ),
    ]
