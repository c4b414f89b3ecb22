"""The Overview dashboard: is the API well, who uses it, and what must somebody look at now?"""

from __future__ import annotations

from dataclasses import replace

from keygauge.metrics import DURATION, KEY, MODEL, REQUESTS, TOKENS, label
from keygauge_dashboards.alerts.alert import SOURCE
from keygauge_dashboards.alerts.keys import NO_KEY
from keygauge_dashboards.dashboards import key
from keygauge_dashboards.dashboards.charts import (
    LIMITED,
    SERVER_ERROR,
    answers,
    durations,
    failures,
    legend,
    spending,
    tokens_a_second,
)
from keygauge_dashboards.grafana.base import PER_SECOND, drill, frame, ledger
from keygauge_dashboards.grafana.panel_types import bars, keep, limits, ranking, stat, states, table
from keygauge_dashboards.grafana.panels import Page, Prometheus, Section, View
from keygauge_dashboards.promql.queries import (
    ALERTS,
    RATE,
    gained,
    limit_share,
    named,
    or_zero,
    quantile,
    rate,
    ratio,
    unlike,
)
from keygauge_dashboards.thresholds import Thresholds

UID = "keygauge-overview"


_COST_TODAY = """\
/* overview.cost_today */
SELECT coalesce(sum(cost_nanousd), 0) / 1e9 AS cost
FROM grafana.usage('model', date_trunc('day', now(), 'UTC'), now() + interval '1 day', '1d', NULL)
WHERE {picked}"""

_TOKENS = """\
/* overview.tokens */
SELECT $__timeGroup(bucket, '$bucket') AS time, sum(input_tokens) AS "input", sum(output_tokens) AS "output"
FROM {usage_by_model}
GROUP BY 1
ORDER BY 1"""


def overview(thresholds: Thresholds) -> Page:
    """Make the dashboard."""
    return frame(
        UID,
        "API keys: overview",
        "Traffic, errors, latency, tokens, cost, limits and alerts of the API, over all keys or some.",
        [
            Section("Now", _now(thresholds)),
            Section("Requests, errors, duration", _red(thresholds)),
            Section("Who and what", _who(thresholds)),
            Section("Tokens, money and alerts", _tokens()),
        ],
    )


def _now(thresholds: Thresholds) -> list[View]:
    errors = limits(thresholds.error_share_warning, thresholds.error_share_critical)
    return [
        stat(
            "How many requests a second?",
            "Requests answered a second, whatever the status.",
            Prometheus(rate(REQUESTS)),
            unit=PER_SECOND,
        ),
        stat(
            "How many fail by our fault?",
            "Share of requests answered with 5xx. Refusals (401, 403, 429) are not our errors.",
            Prometheus(ratio(gained(REQUESTS, SERVER_ERROR, window=RATE), gained(REQUESTS, window=RATE))),
            unit="percentunit",
            colours=errors,
            alerts=("ErrorBudgetBurn",),
        ),
        stat(
            "How slow are slow requests?",
            "95 of 100 requests take less, from arrival to the last byte. Over all keys: durations know no key.",
            Prometheus(quantile(0.95, DURATION)),
            unit=DURATION.unit,
            colours=limits(thresholds.duration_warning_s, thresholds.duration_critical_s),
            alerts=("LatencyBurn",),
        ),
        stat(
            "How many tokens in this range?",
            "Input and output tokens used in the picked time range; cached and reasoning tokens are inside.",
            Prometheus(gained(TOKENS), instant=True),
            unit="short",
            no_value="0",
        ),
        stat(
            "What did today cost?",
            "Cost of today's tokens (UTC), from the ledger, in US dollars.",
            ledger(_COST_TODAY),
            unit="currencyUSD",
            no_value="0",
        ),
        stat(
            "How many keys are active?",
            "Keys that made a request in the picked time range; calls without a valid key are not among them.",
            Prometheus(f"count({gained(REQUESTS, unlike(KEY, NO_KEY), by=(KEY,))} > 0) or vector(0)", instant=True),
            unit="none",
        ),
        stat(
            f"How many limits are over {thresholds.quota_warning:.0%}?",
            "Limits and quotas of which more than this share is used in their current period.",
            Prometheus(or_zero(f"count({limit_share()} > {thresholds.quota_warning})"), instant=True),
            unit="none",
            colours=limits(1, 5),
            alerts=("QuotaHigh", "CostBudget"),
        ),
        stat(
            "How many alerts fire?",
            "KeyGauge's alerts that fire now, as Prometheus evaluates them.",
            Prometheus(or_zero(f'count({ALERTS}{{alertstate="firing", {SOURCE}}})'), instant=True),
            unit="none",
            colours=limits(1, 3),
        ),
    ]


def _red(thresholds: Thresholds) -> list[View]:
    return [answers(), failures(thresholds), durations()]


def _who(thresholds: Thresholds) -> list[View]:
    limited = ratio(gained(REQUESTS, LIMITED, by=(KEY,)), gained(REQUESTS, by=(KEY,)))
    return [
        _of_keys(
            ranking(
                "Which keys ask most?",
                "The ten keys with most requests in the picked time range.",
                Prometheus(named(f"topk(10, {gained(REQUESTS, by=(KEY,))})"), "{{name}}", instant=True),
                unit="short",
                alerts=("UsageSpike", "NewKeyHot"),
            )
        ),
        ranking(
            "Which models use most tokens?",
            "The ten models with most tokens, input and output, in the picked time range.",
            Prometheus(f"topk(10, {gained(TOKENS, by=(MODEL,))})", legend(MODEL), instant=True),
            unit="short",
        ),
        _of_keys(
            ranking(
                "Which keys run into their limits?",
                "Share of a key's requests answered with 429 in the picked time range, the ten highest.",
                Prometheus(named(f"topk(10, {limited})"), "{{name}}", instant=True),
                unit="percentunit",
                colours=limits(thresholds.limited_share, 0.5),
                alerts=("KeyRateLimited",),
            )
        ),
    ]


def _tokens() -> list[View]:
    firing = f'{ALERTS}{{alertstate="firing", {SOURCE}}}'
    return [
        replace(tokens_a_second(), width=6),
        replace(spending(), width=6),
        bars(
            "How many tokens over time?",
            "Input and output tokens in each bar (UTC), from the ledger's roll-ups: exact, and far back.",
            [ledger(_TOKENS, over_time=True)],
            unit="short",
            width=6,
        ),
        table(
            "What is firing?",
            "KeyGauge's firing alerts; the runbook has a heading for each.",
            Prometheus(firing, instant=True, table=True),
            width=6,
            transformations=keep(
                alertname="Alert", severity="Severity", job="Service", account="Account", name="Key", limit="Limit"
            ),
            overrides=[states("Severity", page="red", ticket="orange", info="blue")],
            empty_is_fine="nothing fires when all is well",
        ),
    ]


def _of_keys(view: View) -> View:
    return drill(view, "Open the key", key.UID, key=f"${{__field.labels.{label(KEY)}}}")
