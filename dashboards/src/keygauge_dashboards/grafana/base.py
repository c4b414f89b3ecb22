"""What all dashboards share: variables, annotations, conditions of SQL, and links from one to the next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from keygauge_dashboards.alerts.alert import SOURCE
from keygauge_dashboards.grafana.annotations import marks
from keygauge_dashboards.grafana.panels import Json, Page, Section, Sql, View
from keygauge_dashboards.grafana.variables import ACCOUNTS, KEYS, variables

PER_SECOND = "reqps"
KEY_PAGE = "keygauge-key"  # the uid of the Key detail dashboard, to which others lead
_KEPT = ("datasource", "postgresql", "env", "job", "account", "key", "endpoint", "model", "bucket")

# Account and key are lists; endpoint and model are regular expressions, which "All" makes match everything.
_PICKED = f"account_id = {ACCOUNTS} AND key_id = {KEYS}"
_CALLS = "route ~ '^(${endpoint:regex})$' AND coalesce(model, '') ~ '^(${model:regex})$'"


def frame(
    uid: str,
    title: str,
    description: str,
    sections: Sequence[Section],
    *,
    since: str = "now-6h",
    more_variables: Sequence[Json] = (),
) -> Page:
    """Make a dashboard of the suite."""
    return Page(
        uid=uid,
        title=title,
        description=description,
        sections=sections,
        variables=[*variables(), *more_variables],
        annotations=marks(SOURCE),
        since=since,
    )


def ledger(query: str, *, over_time: bool = False, **values: object) -> Sql:
    """Ask the ledger; `{accounts}`, `{keys}`, `{picked}` and `{picked_calls}` stand for what is picked."""
    known = {
        "accounts": ACCOUNTS,
        "keys": KEYS,
        "picked": _PICKED,
        "picked_calls": f"{_PICKED}\n    AND {_CALLS}",
        "usage_by_model": _usage("model", "endpoint"),
        "usage_by_endpoint": _usage("route", "model"),
    }
    for name, value in {**known, "bar": "$bucket" if over_time else "1d", **values}.items():
        query = query.replace(f"{{{name}}}", str(value))
    return Sql(query, over_time)


def _usage(what: str, other: str) -> str:
    """Read the picked usage of the time range by model or route; `{bar}` is the width of bars, or a day."""
    one = "model" if what == "model" else "endpoint"
    first, last = ("$__timeFrom()::timestamptz", "$__timeTo()::timestamptz")
    return (
        f"grafana.usage('{what}', {first}, {last}, '{{bar}}', '${{{other}:regex}}')\n"
        f"WHERE {_PICKED} AND name ~ '^(${{{one}:regex}})$'"
    )


def drill(view: View, title: str, uid: str, **picked: str) -> View:
    """Let a click on a value open another dashboard."""
    return replace(view, defaults={**view.defaults, "links": [link(title, uid, **picked)]})


def link(title: str, uid: str, **picked: str) -> Json:
    """Lead to a dashboard, with the time range, the data sources and what was picked."""
    kept = [f"${{{name}:queryparam}}" for name in _KEPT if name not in picked]
    chosen = [f"var-{name}={value}" for name, value in picked.items()]
    return {"title": title, "url": f"/d/{uid}?" + "&".join(["${__url_time_range}", *kept, *chosen])}
