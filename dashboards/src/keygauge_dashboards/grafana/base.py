"""What all dashboards share: variables, annotations, conditions of SQL, and links from one to the next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from keygauge_dashboards.alerts.alert import SOURCE
from keygauge_dashboards.grafana.annotations import marks
from keygauge_dashboards.grafana.panels import Json, Page, Section, Sql, View
from keygauge_dashboards.grafana.variables import ACCOUNTS, ENDPOINTS, KEYS, MODELS, variables

PER_SECOND = "reqps"
KEY_PAGE = "keygauge-key"  # the uid of the Key detail dashboard, to which others lead
_KEPT = ("datasource", "postgresql", "env", "job", "account", "key", "endpoint", "model", "bucket")

_PICKED = f"account_id = ANY ({ACCOUNTS}) AND key_id = ANY ({KEYS})"


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
        "accounts": f"ANY ({ACCOUNTS})",
        "keys": f"ANY ({KEYS})",
        "picked": _PICKED,
        "picked_calls": f"{_PICKED}\n    AND {_is('route', ENDPOINTS)} AND {_is('model', MODELS)}",
        "usage_by_model": _usage("model"),
        "usage_by_endpoint": _usage("route"),
    }
    for name, value in {**known, "bar": "$bucket" if over_time else "1d", **values}.items():
        query = query.replace(f"{{{name}}}", str(value))
    return Sql(query, over_time)


def _usage(what: str) -> str:
    """Read the picked usage of the time range by model or route; `{bar}` is the width of bars, or a day."""
    names, others = (MODELS, ENDPOINTS) if what == "model" else (ENDPOINTS, MODELS)
    first, last = ("$__timeFrom()::timestamptz", "$__timeTo()::timestamptz")
    return f"grafana.usage('{what}', {first}, {last}, '{{bar}}', {others})\nWHERE {_PICKED} AND {_is('name', names)}"


def _is(column: str, names: str) -> str:
    """Compare a column with picked names, in which Grafana writes a double quote with a backslash."""
    return f"grafana.as_picked({column}) = ANY ({names})"


def drill(view: View, title: str, uid: str, **picked: str) -> View:
    """Let a click on a value open another dashboard."""
    return replace(view, defaults={**view.defaults, "links": [link(title, uid, **picked)]})


def link(title: str, uid: str, **picked: str) -> Json:
    """Lead to a dashboard, with the time range, the data sources and what was picked."""
    kept = [f"${{{name}:queryparam}}" for name in _KEPT if name not in picked]
    chosen = [f"var-{name}={value}" for name, value in picked.items()]
    return {"title": title, "url": f"/d/{uid}?" + "&".join(["${__url_time_range}", *kept, *chosen])}
