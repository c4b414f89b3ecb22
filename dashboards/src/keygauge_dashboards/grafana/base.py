"""Shared parts of all dashboards: their variables, SQL conditions, and links between them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from keygauge.metrics import label
from keygauge_dashboards.alerts.alert import SOURCE
from keygauge_dashboards.grafana.annotations import annotation_list
from keygauge_dashboards.grafana.panels import Json, Page, Section, Sql, View
from keygauge_dashboards.grafana.variables import ACCOUNTS, ENDPOINTS, KEYS, MODELS, variables
from keygauge_dashboards.promql.queries import NO_MODEL
from keygauge_dashboards.uids import (
    ERRORS_PAGE,
    HEALTH_PAGE,
    KEY_PAGE,
    KEYS_PAGE,
    LIMITS_PAGE,
    LOG_PAGE,
    MODELS_PAGE,
    OVERVIEW,
)

PER_SECOND = "reqps"
# Values of the clicked item for links. Without percentencode, Grafana does not escape & and # in a name.
SERIES = "${__field.displayName:percentencode}"  # not the series' name: an SQL query has one series for all lines
VALUE = "${__value.raw:percentencode}"

_CALLS = ("endpoint", "model")
_SERVICES = ("job", "env")
_SOURCES = ("datasource", "postgresql")
_VARIABLES: Mapping[str, tuple[str, ...]] = {
    OVERVIEW: ("account", "key", *_CALLS, *_SERVICES),
    KEY_PAGE: ("key", "owner", *_CALLS, *_SERVICES),
    MODELS_PAGE: ("account", "key", *_CALLS, *_SERVICES),
    LIMITS_PAGE: ("account", "key", *_SERVICES),
    ERRORS_PAGE: ("account", "key", *_CALLS, *_SERVICES),
    KEYS_PAGE: ("account", "key"),
    LOG_PAGE: ("account", "key", *_CALLS, "status", "address", "trace", "before"),
    HEALTH_PAGE: _SERVICES,
}
_LINKED = "&keygauge-kept"  # placeholder in a URL until the dashboard that contains it is known

_WITHOUT_METRICS = {KEYS_PAGE, LOG_PAGE}  # where "All" is an empty name


def _chosen(key: str) -> str:
    """Compare with the selection."""
    return (
        f"('' = ANY ({ACCOUNTS}) OR account_id = ANY ({ACCOUNTS}))\n    AND ('' = ANY ({KEYS}) OR {key} = ANY ({KEYS}))"
    )


# For "All", too, accounts are listed: the ledger has no index by time alone.
_EVERY_ACCOUNT = "ARRAY(SELECT id FROM grafana.account)"
_ACCOUNTS = f"ANY (CASE WHEN '' = ANY ({ACCOUNTS}) THEN {_EVERY_ACCOUNT} ELSE {ACCOUNTS} END)"
# If keys share series, "All" has the placeholder "other" instead of these keys, and may lack their accounts.
_SELECTED = (
    f"(account_id = {_ACCOUNTS} AND ('' = ANY ({KEYS}) OR key_id = ANY ({KEYS}))\n"
    f"    OR 'other' = ANY ({KEYS}) AND cardinality({KEYS}) > 1)"
)
STATUS_CLASS = (
    "CASE WHEN status = 429 THEN '429' WHEN status >= 500 THEN '5xx' WHEN status >= 400 THEN '4xx' ELSE '2xx' END"
)
# The ledger sums quarter hours; the one in which the time range begins is included, or part of it would be missing.
_FIRST = "date_bin('15 minutes', $__timeFrom()::timestamptz, 'epoch')"
_LEDGER_ONLY = "From the ledger, so not filtered by service or environment."


def dashboard(
    uid: str, title: str, description: str, sections: Sequence[Section], *, since: str = "now-6h", refresh: str = "30s"
) -> Page:
    """Make a dashboard of the suite."""
    names = _VARIABLES[uid]
    queries = "".join(one.query for section in sections for view in section.views for one in _sql(view))
    hidden = tuple(f"ledger_{name}" for name in _CALLS if f"${{ledger_{name}:" in queries)
    page = Page(
        uid=uid,
        title=f"API keys / {title}",
        description=description,
        sections=[replace(one, views=[_add_source(view, names) for view in one.views]) for one in sections],
        variables=variables((*names, *hidden, *_SOURCES), only_sql=uid in _WITHOUT_METRICS),
        annotations=annotation_list(SOURCE, of_accounts=bool({"account", "owner"} & set(names))),
        since=since,
        refresh=refresh,
    )
    return _on_its_page(page, names)


def ledger(query: str, *, over_time: bool = False, **values: Any) -> Sql:
    """Build a query to the ledger; `{accounts}`, `{keys}`, `{selected}` and `{selected_calls}` are the selection."""
    known = {
        "accounts": f"ANY ({ACCOUNTS})",
        "keys": f"ANY ({KEYS})",
        "selected": _SELECTED,
        "chosen_keys": _chosen("id"),
        "chosen_use": _chosen("inside"),
        "every_account": f"'' = ANY ({ACCOUNTS})",
        "selected_calls": f"{_SELECTED}\n    AND {_is('route', ENDPOINTS)} AND {_is('model', MODELS)}",
        "usage_by_model": _usage("model"),
        "usage_by_endpoint": _usage("route"),
        "first": _FIRST,
        "lists": f"{ACCOUNTS}, {KEYS},\n    {ENDPOINTS}, {MODELS}",
        "status_class": STATUS_CLASS,
        "no_model": NO_MODEL,
    }
    for name, value in {**known, "bar": "$__interval" if over_time else "1d", **values}.items():
        query = query.replace(f"{{{name}}}", str(value))
    return Sql(query, over_time)


def drill(view: View, title: str, uid: str, **selected: str) -> View:
    """Make a click on a point or bar open another dashboard."""
    return replace(view, defaults={**view.defaults, "links": [link(title, uid, **selected)]})


def cell(name: str) -> str:
    """Return the expression for the text of another column of the clicked row."""
    return f"${{__data.fields.{name}:percentencode}}"


def of_label(attribute: str) -> str:
    """Return the expression for a label of the clicked line or bar."""
    return f"${{__field.labels.{label(attribute)}:percentencode}}"


def link(title: str, uid: str, **selected: str) -> Json:
    """Build a link to a dashboard that keeps the time range, the data sources and the selection."""
    chosen = "".join(f"&var-{name}={value}" for name, value in selected.items())
    return {"title": title, "url": f"/d/{uid}?${{__url_time_range}}{_LINKED}{chosen}"}


def _on_its_page(page: Page, names: tuple[str, ...]) -> Page:
    """Fill in the parts that depend on the page's variables: those that links keep, and the accounts of queries."""

    def keep(found: re.Match[str]) -> str:
        uid, selected = found[1], re.findall(r"&var-(\w+)=", found[2])
        shared = [name for name in (*names, *_SOURCES) if name in (*_VARIABLES[uid], *_SOURCES) and name != "owner"]
        kept = "".join(f"&${{{name}:queryparam}}" for name in shared if name not in selected)
        return f"/d/{uid}?${{__url_time_range}}{kept}{found[2]}"

    def fill(content: Json) -> Json:
        text = re.sub(rf"/d/([\w-]+)\?\$\{{__url_time_range\}}{_LINKED}([^\"]*)", keep, json.dumps(content))
        if "owner" in names:
            text = text.replace("${account:", "${owner:").replace("$account", "$owner")
        filled: Json = json.loads(text)
        return filled

    def owned(view: View) -> View:
        parts = fill(
            {
                "targets": [
                    getattr(target, "query", None) or getattr(target, "expression", "") for target in view.targets
                ],
                "defaults": view.defaults,
                "overrides": list(view.overrides),
                "links": list(view.links),
            }
        )
        targets = [
            replace(target, query=text) if isinstance(target, Sql) else replace(target, expression=text)
            for target, text in zip(view.targets, parts.pop("targets"), strict=True)
        ]
        return replace(view, targets=targets, **parts)

    return replace(
        page,
        sections=[replace(one, views=list(map(owned, one.views))) for one in page.sections],
        annotations=[fill(one) for one in page.annotations],
    )


def _add_source(view: View, names: tuple[str, ...]) -> View:
    """Note in a panel's description if it ignores the selected service."""
    if "job" not in names or not _sql(view):
        return view
    return replace(view, description=f"{view.description} {_LEDGER_ONLY}")


def _sql(view: View) -> list[Sql]:
    return [target for target in view.targets if isinstance(target, Sql)]


def _usage(what: str) -> str:
    """Build the query for the selected usage by model or route; `{bar}` is the width of bars, or a day."""
    names, others = (MODELS, ENDPOINTS) if what == "model" else (ENDPOINTS, MODELS)
    last = "$__timeTo()::timestamptz"
    return f"grafana.usage('{what}', {_FIRST}, {last}, '{{bar}}', {others})\nWHERE {_SELECTED} AND {_is('name', names)}"


def _is(column: str, names: str) -> str:
    """Compare a column with selected names, in which Grafana escapes double quotes with a backslash."""
    return f"grafana.variable_value({column}) = ANY ({names})"
