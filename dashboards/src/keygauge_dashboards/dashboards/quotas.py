"""The Quotas dashboard: who is close to a limit, who will be, and what is refused."""

from __future__ import annotations

from dataclasses import replace

from keygauge import service_metrics as service
from keygauge.metrics import DECISIONS, KEY, LIMIT, OUTCOME
from keygauge_dashboards.dashboards import key
from keygauge_dashboards.dashboards.charts import legend
from keygauge_dashboards.grafana.base import drill, frame
from keygauge_dashboards.grafana.panel_types import bars, field, keep, levels, limits, lines, ranking, table
from keygauge_dashboards.grafana.panels import Page, Prometheus, Section, View
from keygauge_dashboards.promql.queries import (
    Match,
    by_,
    gained,
    is_,
    like,
    limit_share,
    named,
    owned,
    rate,
    select,
    unlike,
    used_up_in,
)
from keygauge_dashboards.thresholds import Thresholds

UID = "keygauge-quotas"

_BUDGET = Match(service.PERIOD, "!=", "")
_KEPT = by_(service.ACCOUNT, service.KEY, service.LIMIT, service.UNIT)
_USED, _MOST, _RESET = (
    f"max{_KEPT} ({select(metric, _BUDGET)})" for metric in (service.LIMIT_USED, service.LIMIT_MAX, service.LIMIT_RESET)
)
_GROWTH = f"max{_KEPT} (deriv({select(service.LIMIT_USED, _BUDGET)}[1h]))"
_FAR_S = 90 * 86_400
_YES_OR_NO = [
    {"type": "value", "options": {"0": {"text": "no", "color": "green"}, "1": {"text": "yes", "color": "red"}}}
]
_NANOUSD = "nanousd"
_IN_DOLLARS = [{"type": "value", "options": {_NANOUSD: {"text": "US dollars"}}}]  # what is left of it is divided
_OWNER = "{{account_name}}, {{name}}: {{limit}}"
_REFUSED = like(OUTCOME, "limited|quota")


def quotas(thresholds: Thresholds) -> Page:
    """Make the dashboard."""
    return frame(
        UID,
        "API keys: quotas and rate limits",
        "How much of each limit is used, when quotas run out and reset, and who is refused.",
        [
            Section("Used", _used(thresholds)),
            Section("Forecast", _forecast(thresholds)),
            Section("Refused", _refused()),
        ],
    )


def _used(thresholds: Thresholds) -> list[View]:
    colours = limits(thresholds.quota_warning, thresholds.quota_critical)
    fullest = Prometheus(f"sort_desc({owned(f'topk(20, {limit_share()})')})", _OWNER, instant=True)
    return [
        ranking(
            "Which limits are fullest?",
            "Share used of each limit and quota in its current period, the twenty fullest.",
            fullest,
            unit="percentunit",
            colours=colours,
            width=12,
            full=1,
            alerts=("QuotaHigh", "CostBudget"),
        ),
        lines(
            "How did quotas fill?",
            "Share used of daily and monthly quotas and budgets; a fall to zero is a reset.",
            [Prometheus(owned(limit_share(_BUDGET)), _OWNER)],
            unit="percentunit",
            calcs=("lastNotNull", "max"),
            colours=colours,
            width=12,
        ),
    ]


def _forecast(thresholds: Thresholds) -> list[View]:
    columns = {service.ACCOUNT_NAME: "Account", service.NAME: "Key", service.LIMIT: "Limit", service.UNIT: "Unit"}
    asked = {
        "Used": owned(f"({_USED} / ({_MOST} > 0))"),
        "Left": f"({_left(is_(service.UNIT, _NANOUSD))}) / 1e9 or {_left(unlike(service.UNIT, _NANOUSD))}",
        "Used up in": f"({used_up_in(_BUDGET)}) < {_FAR_S}",
        "Resets in": f"{_RESET} - time()",
        "Runs out first": f"{_GROWTH} * ({_RESET} - time()) > bool ({_MOST} - {_USED})",
    }
    values = {f"Value #{letter}": name for letter, name in zip("ABCDE", asked, strict=True)}
    every = table(
        "Will quotas last until they reset?",
        "Daily and monthly quotas and budgets: what is used and left, when it is used up if use goes on as in the last "
        "hour, and when the period ends (UTC).",
        Prometheus("", table=True),
        width=24,
        transformations=[{"id": "merge", "options": {}}, *keep(**columns, **values)],
        overrides=[
            levels("Used", limits(thresholds.quota_warning, thresholds.quota_critical), unit="percentunit", decimals=1),
            field("Unit", mappings=_IN_DOLLARS),
            field("Left", unit="short", decimals=2),
            field("Used up in", unit="s", noValue="not soon"),
            field("Resets in", unit="s"),
            field("Runs out first", mappings=_YES_OR_NO, custom__cellOptions={"type": "color-text"}),
        ],
        alerts=("QuotaExhaustsBeforeReset", "CostForecast"),
    )
    return [replace(every, targets=[Prometheus(query, instant=True, table=True) for query in asked.values()])]


def _left(unit: Match) -> str:
    most, used = (select(metric, _BUDGET, unit) for metric in (service.LIMIT_MAX, service.LIMIT_USED))
    return f"max{_KEPT} ({most}) - max{_KEPT} ({used})"


def _refused() -> list[View]:
    share = f"topk(10, {gained(DECISIONS, _REFUSED, by=(KEY,))})"
    keys = ranking(
        "Who is refused most?",
        "Calls refused by a limit in the picked time range, the ten keys with most.",
        Prometheus(named(share), "{{name}}", instant=True),
        unit="short",
        empty_is_fine="nothing is refused when clients keep to their limits",
    )
    return [
        bars(
            "What is refused by which limit?",
            "Calls a second refused by a rate limit (limited) or a quota.",
            [Prometheus(rate(DECISIONS, _REFUSED, by=(LIMIT, OUTCOME)), f"{legend(LIMIT)} {legend(OUTCOME)}")],
            unit="reqps",
            calcs=("mean", "max"),
            empty_is_fine="nothing is refused when clients keep to their limits",
            alerts=("KeyRateLimited",),
        ),
        drill(keys, "Open the key", key.UID, key=f"${{__field.labels.{KEY.replace('.', '_')}}}"),
        lines(
            "How are calls decided?",
            "Calls a second by outcome.",
            [Prometheus(rate(DECISIONS, by=(OUTCOME,)), legend(OUTCOME))],
            unit="reqps",
            alerts=("AuthFailureBurst", "RevokedKeyUsed"),
        ),
    ]
