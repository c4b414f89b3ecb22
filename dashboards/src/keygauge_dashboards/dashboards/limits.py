"""The Limits dashboard: who is close to a limit, who will be, and which calls are refused."""

from __future__ import annotations

from dataclasses import replace

from keygauge import service_metrics as service
from keygauge.metrics import DECISIONS, KEY, LIMIT, OUTCOME
from keygauge_dashboards.dashboards.charts import legend, to_key
from keygauge_dashboards.grafana.base import cell, dashboard, drill, link, of_label
from keygauge_dashboards.grafana.panel_types import field, gauge, hidden, keep, limits, lines, ranking, table
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
from keygauge_dashboards.uids import LIMITS_PAGE, LOG_PAGE, OVERVIEW

UID = LIMITS_PAGE

_BUDGET = Match(service.PERIOD, "!=", "")
_KEPT = by_(service.ACCOUNT, service.KEY, service.LIMIT, service.UNIT)
_USED, _MOST, _RESET = (
    f"max{_KEPT} ({select(metric)})" for metric in (service.LIMIT_USED, service.LIMIT_MAX, service.LIMIT_RESET)
)
_GROWTH = f"max{_KEPT} (deriv({select(service.LIMIT_USED, _BUDGET)}[1h]))"
_FAR_S = 90 * 86_400
_YES_OR_NO = [
    {"type": "value", "options": {"0": {"text": "no", "color": "green"}, "1": {"text": "yes", "color": "red"}}}
]
_NANOUSD = "nanousd"
_UNITS = {
    unit: {"text": text}
    for unit, text in (
        (_NANOUSD, "US dollars"),
        ("request", "requests"),
        ("token", "tokens"),
        ("input_token", "input tokens"),
        ("output_token", "output tokens"),
        ("concurrent", "at once"),
    )
}
_WIDTHS = {"Used": 130, "Unit": 105, "Left": 70, "Used up in": 85, "Resets in": 85, "Runs out first": 110}
_ONLY_WHOLE = ("Unit", "Runs out first")  # columns that do not fit on the key's page
_OWNER = "{{account_name}}, {{name}}: {{limit}}"
_REFUSED = like(OUTCOME, "limited|quota")
_NOT_BY_LIMIT = unlike(OUTCOME, "admitted|limited|quota")


def limits_page(thresholds: Thresholds) -> Page:
    """Build the dashboard."""
    return dashboard(
        UID,
        "Limits and quotas",
        "Who is close to a limit, who will reach it before it resets, and who is refused?",
        [
            Section("Limits", [limits_table(thresholds), _course(thresholds)]),
            Section("Refused", _refused()),
        ],
    )


def limits_table(thresholds: Thresholds, *, width: int = 24) -> View:
    """List limits, the fullest first, with the remaining amount and when they are used up and reset."""
    is_whole = width == 24  # noqa: PLR2004 - the columns of a page
    owner = {service.ACCOUNT_NAME: "Account", service.NAME: "Key"} if is_whole else {service.NAME: "Of"}
    columns = {**owner, service.LIMIT: "Limit", **({service.UNIT: "Unit"} if is_whole else {})}
    queries = {
        "Used": owned(f"({_USED} / ({_MOST} > 0))"),
        "Left": f"({_left(is_(service.UNIT, _NANOUSD))}) / 1e9 or {_left(unlike(service.UNIT, _NANOUSD))}",
        "Used up in": f"({used_up_in(_BUDGET)}) < {_FAR_S}",
        "Resets in": f"{_RESET} - time() > 0",
        "Runs out first": f"{_GROWTH} * ({_RESET} - time()) > bool ({_MOST} - {_USED})",
    }
    if not is_whole:
        del queries["Runs out first"]
    values = {f"Value #{letter}": name for letter, name in zip("ABCDE", queries, strict=False)}
    aside = {service.ACCOUNT: "account_id", service.KEY: "key_id"}
    every = table(
        "Limits",
        "How much of each limit is used? At the last hour's rate, will a quota run out before it resets?",
        Prometheus("", table=True),
        width=width,
        height=10 if is_whole else 8,
        widths={name: width for name, width in _WIDTHS.items() if is_whole or name not in _ONLY_WHOLE},
        transformations=[
            {"id": "merge", "options": {}},
            *keep(**columns, **values, **aside),
            {"id": "sortBy", "options": {"fields": {}, "sort": [{"field": "Used", "desc": True}]}},
        ],
        overrides=[
            *hidden(*aside.values()),
            field("Of", links=[link("Keys of the account", OVERVIEW, account=cell("account_id"), key="$__all")]),
            field("Account", links=[link("Limits of the account", UID, account=cell("account_id"))]),
            field("Limit", links=[link("Refused calls", LOG_PAGE, account=cell("account_id"), status="429")])
            if is_whole
            else field("Limit", links=[link("Refused calls", LOG_PAGE, status="429")]),
            gauge("Used", limits(thresholds.quota_warning, thresholds.quota_critical), unit="percentunit", decimals=1),
            field("Unit", mappings=[{"type": "value", "options": _UNITS}]),
            field("Left", unit="short"),
            field("Used up in", unit="s", decimals=1, noValue="not soon"),
            field("Resets in", unit="s", decimals=1),
            field("Runs out first", mappings=_YES_OR_NO, custom__cellOptions={"type": "color-text"}),
        ],
        empty_is_fine="there are no limits",
        alerts=("QuotaHigh", "CostBudget", "QuotaExhaustsBeforeReset", "CostForecast"),
    )
    return replace(every, targets=[Prometheus(query, instant=True, table=True) for query in queries.values()])


def _left(unit: Match) -> str:
    most, used = (select(metric, unit) for metric in (service.LIMIT_MAX, service.LIMIT_USED))
    return f"max{_KEPT} ({most}) - max{_KEPT} ({used})"


def _course(thresholds: Thresholds) -> View:
    view = lines(
        "Used share of quotas",
        "How did the 20 fullest quotas and budgets fill up? A drop to zero is a reset.",
        [Prometheus(owned(f"topk(20, {limit_share(_BUDGET)})"), _OWNER)],
        unit="percentunit",
        calcs=("lastNotNull",),
        colours=limits(thresholds.quota_warning, thresholds.quota_critical),
        width=24,
        empty_is_fine="there are no quotas",
    )
    return drill(view, "Limits of the account", UID, account=of_label(service.ACCOUNT))


def _refused() -> list[View]:
    share = f"topk(10, {gained(DECISIONS, _REFUSED, by=(KEY,))} > 0)"
    return [
        drill(
            lines(
                "Rate limited/s by limit",
                "Which limits refuse calls?",
                [Prometheus(rate(DECISIONS, _REFUSED, by=(LIMIT,)), legend(LIMIT))],
                unit="reqps",
                stacked=True,
                empty_is_fine="no limit refused a call",
                alerts=("KeyRateLimited",),
            ),
            "Refused calls",
            LOG_PAGE,
            status="429",
        ),
        to_key(
            ranking(
                "Rate-limited calls by key",
                "Which ten keys were refused most often by limits in the selected time range?",
                Prometheus(named(share), "{{name}}", instant=True),
                unit="locale",
                empty_is_fine="no key was rate limited",
            )
        ),
        drill(
            lines(
                "Refused/s by reason",
                "What is refused for other reasons: unknown, expired and revoked keys, and forbidden calls? "
                "The request log has no calls with unknown keys.",
                [Prometheus(rate(DECISIONS, _NOT_BY_LIMIT, by=(OUTCOME,)), legend(OUTCOME))],
                unit="reqps",
                stacked=True,
                empty_is_fine="every call had a valid key",
                alerts=("AuthFailureBurst", "RevokedKeyUsed"),
            ),
            "Refused calls",
            LOG_PAGE,
            status="4xx",
        ),
    ]
