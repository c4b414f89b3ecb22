"""The Quotas dashboard: who is close to a limit, who will be, and what is refused."""

from __future__ import annotations

from keygauge import service_metrics as service
from keygauge.metrics import DECISIONS, KEY, LIMIT, OUTCOME
from keygauge_dashboards import key
from keygauge_dashboards.charts import legend
from keygauge_dashboards.frame import drill, frame
from keygauge_dashboards.panels import Page, Prometheus, Section, View
from keygauge_dashboards.queries import Match, by_, gained, like, limit_share, named, rate, select
from keygauge_dashboards.thresholds import Thresholds
from keygauge_dashboards.views import bars, field, keep, limits, lines, ranking, table

UID = "keygauge-quotas"

_BUDGET = Match(service.PERIOD, "!=", "")
_KEPT = by_(service.ACCOUNT, service.KEY, service.LIMIT)
_REFUSED = like(OUTCOME, "limited|quota")


def quotas(thresholds: Thresholds) -> Page:
    """Make the dashboard."""
    return frame(
        UID,
        "API keys: quotas and rate limits",
        "How much of each limit is used, when quotas run out and reset, and who is refused.",
        [
            Section("Used", _used(thresholds)),
            Section("Forecast", _forecast()),
            Section("Refused", _refused()),
        ],
    )


def _used(thresholds: Thresholds) -> list[View]:
    colours = limits(thresholds.quota_warning, thresholds.quota_critical)
    fullest = Prometheus(f"topk(20, {limit_share()})", "{{account}} {{key}} {{limit}}", instant=True)
    return [
        ranking(
            "Which limits are fullest?",
            "Share used of each limit and quota in its current period, the twenty fullest.",
            fullest,
            unit="percentunit",
            colours=colours,
            width=12,
            full=1,
        ),
        lines(
            "How did quotas fill?",
            "Share used of daily and monthly quotas and budgets; a fall to zero is a reset.",
            [Prometheus(limit_share(_BUDGET), "{{account}} {{key}} {{limit}}")],
            unit="percentunit",
            calcs=("lastNotNull", "max"),
            colours=colours,
            width=12,
        ),
    ]


def _forecast() -> list[View]:
    used, most, reset = (
        f"max{_KEPT} ({select(metric, _BUDGET)})"
        for metric in (service.LIMIT_USED, service.LIMIT_MAX, service.LIMIT_RESET)
    )
    growth = f"max{_KEPT} (deriv({select(service.LIMIT_USED, _BUDGET)}[1h]))"
    left = f"({most} - {used}) / ({growth} > 0)"
    columns = {service.ACCOUNT: "Account", service.KEY: "Key", service.LIMIT: "Limit", "Value": "Time"}
    return [
        table(
            "When will quotas be used up?",
            "Time until nothing is left if use goes on as in the last hour; those that do not grow are not listed.",
            Prometheus(f"sort(({left}) < 90 * 86400)", instant=True, table=True),
            transformations=keep(**columns),
            overrides=[field("Time", unit="s")],
            empty_is_fine="no quota grows fast enough to be used up within 90 days",
        ),
        table(
            "When do quotas reset?",
            "Time until the current UTC day or month of each quota ends.",
            Prometheus(f"sort({reset} - time())", instant=True, table=True),
            transformations=keep(**columns),
            overrides=[field("Time", unit="s")],
        ),
    ]


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
        ),
        drill(keys, "Open the key", key.UID, key=f"${{__field.labels.{KEY.replace('.', '_')}}}"),
        lines(
            "How are calls decided?",
            "Calls a second by outcome.",
            [Prometheus(rate(DECISIONS, by=(OUTCOME,)), legend(OUTCOME))],
            unit="reqps",
        ),
    ]
