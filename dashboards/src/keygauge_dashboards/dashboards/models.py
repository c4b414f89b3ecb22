"""The Models dashboard: tokens and cost by model, and how fast answers flow."""

from __future__ import annotations

from dataclasses import replace

from keygauge.metrics import FIRST_TOKEN, MODEL, OUTPUT_TOKEN, SUBSET, TOKENS_DETAIL
from keygauge_dashboards.dashboards.charts import legend, spending, tokens_by_model
from keygauge_dashboards.grafana.base import frame, ledger
from keygauge_dashboards.grafana.panel_types import bars, donut, field, lines, table
from keygauge_dashboards.grafana.panels import Page, Prometheus, Section, View
from keygauge_dashboards.promql.queries import quantile, rate

UID = "keygauge-models"

_TOKENS = """\
/* models.tokens */
SELECT $__timeGroup(bucket, '$bucket') AS time, sum(input_tokens - cache_read_tokens) AS "input",
    sum(cache_read_tokens) AS "input from cache", sum(output_tokens) AS "output"
FROM {usage_by_model}
GROUP BY 1
ORDER BY 1"""

_SHARES = """\
/* models.shares */
WITH used AS (
    SELECT coalesce(nullif(name, ''), 'no model') AS model, sum(requests) AS requests,
        row_number() OVER (ORDER BY sum(requests) DESC) AS place
    FROM {usage_by_model}
    GROUP BY 1
)
SELECT CASE WHEN place <= 8 THEN model ELSE 'other' END AS model, sum(requests) AS requests
FROM used
GROUP BY 1
ORDER BY 2 DESC"""

_LEADERBOARD = """\
/* models.leaderboard */
SELECT coalesce(nullif(name, ''), 'no model') AS model, sum(requests) AS requests,
    sum(input_tokens) AS "input", sum(output_tokens) AS "output",
    sum(input_tokens)::float8 / nullif(sum(output_tokens), 0) AS "input per output",
    sum(cache_read_tokens)::float8 / nullif(sum(input_tokens), 0) AS "from cache",
    sum(cost_nanousd) / 1e9 AS cost,
    sum(cost_nanousd) / 1e6 / nullif(sum(input_tokens + output_tokens), 0) AS "cost per 1k tokens"
FROM {usage_by_model}
GROUP BY 1
ORDER BY cost DESC, requests DESC
LIMIT 100"""

_COST = """\
/* models.cost */
SELECT $__timeGroup(bucket, '$bucket') AS time, coalesce(nullif(name, ''), 'no model') AS metric,
    sum(cost_nanousd) / 1e9 AS cost
FROM {usage_by_model}
GROUP BY 1, 2
ORDER BY 1, 2"""


def models() -> Page:
    """Make the dashboard."""
    return frame(
        UID,
        "API keys: models, tokens and cost",
        "Which models are used, what they cost, and how fast their answers flow.",
        [Section("Tokens and cost", _tokens()), Section("Models", _models()), Section("As it flows", _flow())],
        since="now-30d",
    )


def _tokens() -> list[View]:
    return [
        bars(
            "How many tokens over time?",
            "Tokens in each bar (UTC), from the ledger's roll-ups; input from the provider's cache is shown apart.",
            [ledger(_TOKENS, over_time=True)],
            unit="short",
            width=12,
        ),
        bars(
            "What do the models cost over time?",
            "Cost in each bar (UTC) by model in US dollars, from the ledger.",
            [ledger(_COST, over_time=True)],
            unit="currencyUSD",
            width=12,
        ),
    ]


def _models() -> list[View]:
    return [
        donut(
            "Which models are asked most?",
            "Share of requests by model; the eight most asked and all others together.",
            ledger(_SHARES),
            unit="short",
        ),
        table(
            "What does each model take and cost?",
            "Tokens, ratio of input to output, share from the cache, cost, and cost per thousand tokens.",
            ledger(_LEADERBOARD),
            width=16,
            overrides=[
                field("input per output", decimals=1),
                field("from cache", unit="percentunit", decimals=0),
                field("cost", unit="currencyUSD"),
                field("cost per 1k tokens", unit="currencyUSD", decimals=4),
            ],
        ),
    ]


def _flow() -> list[View]:
    return [
        lines(
            "How long to the first token?",
            "95th percentile by model, of streamed answers.",
            [Prometheus(quantile(0.95, FIRST_TOKEN, by=(MODEL,)), legend(MODEL))],
            unit=FIRST_TOKEN.unit,
        ),
        lines(
            "How long does each further token take?",
            "95th percentile by model, of streamed answers.",
            [Prometheus(quantile(0.95, OUTPUT_TOKEN, by=(MODEL,)), legend(MODEL))],
            unit=OUTPUT_TOKEN.unit,
        ),
        lines(
            "What is inside the tokens?",
            "Tokens a second that came from a cache, went into one, or were spent on reasoning; all inside the totals.",
            [Prometheus(rate(TOKENS_DETAIL, by=(SUBSET,)), legend(SUBSET))],
            unit="short",
        ),
        replace(tokens_by_model(), width=12),
        replace(spending(), width=12),
    ]
