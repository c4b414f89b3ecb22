"""The Overview dashboard: is the API well, who uses it, and what must somebody look at now?"""

from __future__ import annotations

from keygauge.metrics import DURATION, KEY, MODEL, REQUESTS, ROUTE, STATUS, TOKEN_TYPE, TOKENS, label
from keygauge_dashboards.alert import SOURCE
from keygauge_dashboards.marks import marks
from keygauge_dashboards.panels import Page, Prometheus, Section, Sql, View
from keygauge_dashboards.queries import (
    ALERTS,
    increase,
    is_,
    like,
    limit_share,
    named,
    or_zero,
    quantile,
    rate,
    ratio,
    unlike,
)
from keygauge_dashboards.thresholds import Thresholds
from keygauge_dashboards.variables import variables
from keygauge_dashboards.views import bars, coloured, field, keep, limits, lines, ranking, stat, table

UID = "keygauge-overview"

_PER_SECOND = "reqps"
_NOT_A_KEY = "anonymous|invalid|other"
_SERVER_ERROR = like(STATUS, "5..")
_LIMITED = is_(STATUS, "429")

_COST_TODAY = """\
/* overview.cost_today */
SELECT coalesce(sum(cost_nanousd), 0) / 1e9 AS cost
FROM grafana.rollup
WHERE bucket >= date_trunc('day', now(), 'UTC')
    AND account_id IN (${account:sqlstring}) AND key_id IN (${key:sqlstring})"""

_TOKENS_A_DAY = """\
/* overview.tokens_a_day */
SELECT date_trunc('day', bucket, 'UTC') AS time, sum(input_tokens) AS "input", sum(output_tokens) AS "output"
FROM grafana.rollup
WHERE $__timeFilter(bucket) AND account_id IN (${account:sqlstring}) AND key_id IN (${key:sqlstring})
GROUP BY 1
ORDER BY 1"""


def overview(thresholds: Thresholds) -> Page:
    """Make the dashboard."""
    return Page(
        uid=UID,
        title="API keys: overview",
        description="Traffic, errors, latency, tokens, cost, limits and alerts of the API, over all keys or some.",
        variables=variables(),
        annotations=marks(SOURCE),
        sections=[
            Section("Now", _now(thresholds)),
            Section("Requests, errors, duration", _red(thresholds)),
            Section("Who and what", _who(thresholds)),
            Section("Tokens and alerts", _tokens()),
        ],
    )


def _now(thresholds: Thresholds) -> list[View]:
    errors = limits(thresholds.error_share_warning, thresholds.error_share_critical)
    return [
        stat(
            "How many requests a second?",
            "Requests answered a second, whatever the status.",
            Prometheus(rate(REQUESTS)),
            unit=_PER_SECOND,
        ),
        stat(
            "How many fail by our fault?",
            "Share of requests answered with 5xx. Refusals (401, 403, 429) are not our errors.",
            Prometheus(ratio(rate(REQUESTS, _SERVER_ERROR), rate(REQUESTS))),
            unit="percentunit",
            colours=errors,
        ),
        stat(
            "How slow are slow requests?",
            "95 of 100 requests take less, from arrival to the last byte. Over all keys: durations know no key.",
            Prometheus(quantile(0.95, DURATION)),
            unit=DURATION.unit,
            colours=limits(thresholds.duration_warning_s, thresholds.duration_critical_s),
        ),
        stat(
            "How many tokens in this range?",
            "Input and output tokens used in the picked time range; cached and reasoning tokens are inside.",
            Prometheus(increase(TOKENS), instant=True),
            unit="short",
            no_value="0",
        ),
        stat(
            "What did today cost?",
            "Cost of today's tokens (UTC), from the ledger, in US dollars.",
            Sql(_COST_TODAY),
            unit="currencyUSD",
            no_value="0",
        ),
        stat(
            "How many keys are active?",
            "Keys that made a request in the picked time range; calls without a valid key are not among them.",
            Prometheus(
                f"count({increase(REQUESTS, unlike(KEY, _NOT_A_KEY), by=(KEY,))} > 0) or vector(0)", instant=True
            ),
            unit="none",
        ),
        stat(
            f"How many limits are over {thresholds.quota_warning:.0%}?",
            "Limits and quotas of which more than this share is used in their current period.",
            Prometheus(or_zero(f"count({limit_share()} > {thresholds.quota_warning})"), instant=True),
            unit="none",
            colours=limits(1, 5),
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
    classes = {
        "ok": like(STATUS, "[123].."),
        "client error": like(STATUS, "4.[0-8]|4[013-9]9"),
        "rate-limited": _LIMITED,
        "server error": _SERVER_ERROR,
    }
    colours = {"ok": "green", "client_error": "yellow", "rate-limited": "orange", "server_error": "red"}
    return [
        bars(
            "How is the traffic answered?",
            "Requests a second by kind of answer.",
            [Prometheus(or_zero(rate(REQUESTS, match)), legend) for legend, match in classes.items()],
            unit=_PER_SECOND,
            calcs=("mean", "max"),
            overrides=coloured(**colours),
        ),
        lines(
            "Which endpoints fail?",
            "Share of each endpoint's requests answered with 5xx; dashed: the warning and the critical share.",
            [
                Prometheus(
                    ratio(rate(REQUESTS, _SERVER_ERROR, by=(ROUTE,)), rate(REQUESTS, by=(ROUTE,))), _legend(ROUTE)
                )
            ],
            unit="percentunit",
            colours=limits(thresholds.error_share_warning, thresholds.error_share_critical),
        ),
        lines(
            "How long do requests take?",
            "Quantiles of the time from arrival to the last byte, over all keys.",
            [Prometheus(quantile(share / 100, DURATION), f"p{share}") for share in (50, 95, 99)],
            unit=DURATION.unit,
        ),
    ]


def _who(thresholds: Thresholds) -> list[View]:
    limited = ratio(increase(REQUESTS, _LIMITED, by=(KEY,)), increase(REQUESTS, by=(KEY,)))
    return [
        ranking(
            "Which keys ask most?",
            "The ten keys with most requests in the picked time range.",
            Prometheus(named(f"topk(10, {increase(REQUESTS, by=(KEY,))})"), "{{name}}", instant=True),
            unit="short",
        ),
        ranking(
            "Which models use most tokens?",
            "The ten models with most tokens, input and output, in the picked time range.",
            Prometheus(f"topk(10, {increase(TOKENS, by=(MODEL,))})", _legend(MODEL), instant=True),
            unit="short",
        ),
        ranking(
            "Which keys run into their limits?",
            "Share of a key's requests answered with 429 in the picked time range, the ten highest.",
            Prometheus(named(f"topk(10, {limited})"), "{{name}}", instant=True),
            unit="percentunit",
            colours=limits(thresholds.limited_share, 0.5),
        ),
    ]


def _tokens() -> list[View]:
    firing = f'{ALERTS}{{alertstate="firing", {SOURCE}}}'
    return [
        lines(
            "How many tokens a second?",
            "Tokens used a second, by type.",
            [Prometheus(rate(TOKENS, by=(TOKEN_TYPE,)), _legend(TOKEN_TYPE))],
            unit="short",
            width=8,
        ),
        bars(
            "How many tokens a day?",
            "Input and output tokens per UTC day, from the ledger's roll-ups: exact, and as far back as they are kept.",
            [Sql(_TOKENS_A_DAY, over_time=True)],
            unit="short",
            width=8,
        ),
        table(
            "What is firing?",
            "KeyGauge's firing alerts; the runbook has a heading for each.",
            Prometheus(firing, instant=True, table=True),
            width=8,
            transformations=keep("alertname", "severity", "account", label(KEY)),
            overrides=[field("alertname", displayName="Alert"), field(label(KEY), displayName="Key")],
            empty_is_fine="nothing fires when all is well",
        ),
    ]


def _legend(attribute: str) -> str:
    return f"{{{{{label(attribute)}}}}}"
