"""The Models dashboard: tokens and cost by model, and how fast answers flow."""

from __future__ import annotations

from keygauge.metrics import COST_MISSING, FIRST_TOKEN, MODEL, OUTPUT_TOKEN
from keygauge_dashboards.dashboards.charts import (
    DOLLARS,
    by_model,
    cost_by_model,
    legend,
    tokens_over_time,
    totals,
)
from keygauge_dashboards.grafana.base import SERIES, VALUE, dashboard, drill, ledger, link
from keygauge_dashboards.grafana.panel_types import BY_NAME, field, limits, lines, stat, table
from keygauge_dashboards.grafana.panels import Page, Prometheus, Section, View
from keygauge_dashboards.promql.histograms import quantile
from keygauge_dashboards.promql.queries import gained, or_zero
from keygauge_dashboards.uids import LOG_PAGE, MODELS_PAGE

UID = MODELS_PAGE
_WIDTHS = {"requests": 80, "error rate": 85, "input": 75, "output": 75, "input/output": 100, "cached": 70, "cost": 75}
_WIDTHS |= {"cost per million": 130}

_MONTH = """\
/* models.month */
SELECT coalesce(sum(cost_nanousd), 0) / 1e9 AS cost
FROM grafana.usage('model', date_trunc('month', now(), 'UTC'), now(), '1d', NULL)
WHERE {selected}"""

# For the rest of the month, the average of the last seven days.
_FORECAST = """\
/* models.forecast */
SELECT coalesce(sum(cost_nanousd) FILTER (WHERE bucket >= month.first), 0) / 1e9
    + coalesce(sum(cost_nanousd) FILTER (WHERE bucket >= now() - interval '7 days'), 0) / 1e9 / 7
    * extract(epoch FROM month.first + interval '1 month' - now())::float8 / 86400 AS cost
FROM (SELECT date_trunc('month', now(), 'UTC') AS first) AS month
LEFT JOIN LATERAL (
    SELECT bucket, cost_nanousd
    FROM grafana.usage('model', least(month.first, now() - interval '7 days'), now(), '15m', NULL)
    WHERE {selected}
) AS used ON true
GROUP BY month.first"""

_CACHED = """\
/* models.cached */
SELECT coalesce(sum(cache_read_tokens)::float8 / nullif(sum(input_tokens), 0), 0) AS share
FROM {usage_by_model}"""

_LEADERBOARD = """\
/* models.leaderboard */
SELECT coalesce(nullif(name, ''), '{no_model}') AS model, sum(requests) AS requests,
    sum(failed)::float8 / sum(requests) AS "error rate", sum(input_tokens) AS input, sum(output_tokens) AS output,
    sum(input_tokens)::float8 / nullif(sum(output_tokens), 0) AS "input/output",
    sum(cache_read_tokens)::float8 / nullif(sum(input_tokens), 0) AS cached, sum(cost_nanousd) / 1e9 AS cost,
    sum(cost_nanousd) / 1e3 / nullif(sum(input_tokens + output_tokens), 0) AS "cost per million"
FROM {usage_by_model}
GROUP BY 1
ORDER BY cost DESC, requests DESC
LIMIT 100"""

_KINDS = """\
/* models.kinds */
SELECT coalesce(nullif(model, ''), '{no_model}') AS model, kind, sum(count) AS amount
FROM grafana.usage_kind
WHERE length_s = 900 AND $__timeFilter(bucket) AND {selected_calls}
GROUP BY 1, 2
ORDER BY 3 DESC
LIMIT 100"""


def models() -> Page:
    """Build the dashboard."""
    return dashboard(
        UID,
        "Models and cost",
        "Which models are used, what do they cost, and how fast do they stream?",
        [
            Section("Cost", _cost()),
            Section("Time range", [totals(), *_over_time()]),
            Section("Models", _models()),
            Section("Streaming", _streaming()),
        ],
        since="now-30d",
    )


def _cost() -> list[View]:
    return [
        stat(
            "Cost this month (UTC)",
            "What have this month's tokens cost so far?",
            ledger(_MONTH),
            unit=DOLLARS,
            no_value="0",
        ),
        stat(
            "Cost forecast, this month",
            "What will the month cost if the remaining days are like the last seven?",
            ledger(_FORECAST),
            unit=DOLLARS,
            no_value="0",
        ),
        stat(
            "Cached input",
            "What share of the input came from the providers' caches, which are cheaper?",
            ledger(_CACHED),
            unit="percentunit",
        ),
        stat(
            "Unpriced requests",
            "How many requests under a cost limit used models without a price? What they reserved stays charged.",
            Prometheus(or_zero(gained(COST_MISSING)), instant=True),
            unit="short",
            colours=limits(1),
            alerts=("ModelUnpriced",),
        ),
    ]


def _over_time() -> list[View]:
    return [
        tokens_over_time(width=12),
        cost_by_model(width=12),
        by_model(
            "Requests by model", "How often was each model called?", "requests", unit="short", what="requests", width=24
        ),
    ]


def _models() -> list[View]:
    board = table(
        "Models",
        "What does each model use and cost, what share of its calls fail, and what do a million tokens cost?",
        ledger(_LEADERBOARD),
        width=24,
        widths=_WIDTHS,
        overrides=[
            field("model", links=[link("Calls of this model", LOG_PAGE, model=VALUE)]),
            *(field(name, unit="short") for name in ("requests", "input", "output")),
            field("error rate", unit="percentunit", decimals=2),
            field("input/output", decimals=1),
            field("cached", unit="percentunit", decimals=0),
            *(field(name, unit=DOLLARS, decimals=2) for name in ("cost", "cost per million")),
        ],
    )
    kinds = table(
        "Other kinds of use",
        "What did each model use that may have a price of its own: audio, images, searches, seconds, pages?",
        ledger(_KINDS),
        width=24,
        height=5,
        overrides=[
            field("model", links=[link("Calls of this model", LOG_PAGE, model=VALUE)]),
            field("amount", unit="short"),
        ],
        empty_is_fine="no call used any other kind",
    )
    return [board, kinds]


def _streaming() -> list[View]:
    flows = [
        lines(
            title,
            description,
            [Prometheus(quantile(0.95, metric, by=(MODEL,)), legend(MODEL))],
            unit=metric.unit,
            colour=BY_NAME,
            width=12,
            empty_is_fine="no answer was streamed",
        )
        for title, description, metric in (
            ("Time to first token (p95)", "How long until a stream's first token, by model?", FIRST_TOKEN),
            ("Time per output token (p95)", "How long per output token of a stream, by model?", OUTPUT_TOKEN),
        )
    ]
    return [drill(view, "Calls of this model", LOG_PAGE, model=SERIES) for view in flows]
