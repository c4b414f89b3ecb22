"""Panels and dashboards for Grafana 11 and later; the only module that uses grafanalib.

grafanalib's panel classes write the JSON of Grafana 6, so only its outer classes are used (`Panel`, `Dashboard`,
`Template`). A panel's content comes from a `View`, and obsolete properties are removed at the end.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from grafanalib import core
from grafanalib._gen import DashboardEncoder

Json: TypeAlias = dict[str, Any]

SCHEMA_VERSION = 41  # Grafana 11.6; later versions migrate it automatically
TAG = "keygauge"
COLUMNS = 24
HIDDEN = core.HIDE_VARIABLE  # a variable that only queries use

PROMETHEUS: Json = {"type": "prometheus", "uid": "${datasource}"}
POSTGRESQL: Json = {"type": "grafana-postgresql-datasource", "uid": "${postgresql}"}
MIXED: Json = {"type": "datasource", "uid": "-- Mixed --"}  # Grafana's built-in: each target has its own data source

_LEGACY_DASHBOARD = ("__inputs", "gnetId", "hideControls", "rows", "sharedCrosshair", "style")
_LEGACY_PANEL = ("cacheTimeout", "editable", "error", "height", "hideTimeOverride", "minSpan", "span")
_LEGACY_ROW = ("fieldConfig", "targets", "transformations", "links", "maxDataPoints", "transparent")
_LEGACY_VARIABLE = ("useTags", "tagsQuery", "tagValuesQuery")


@dataclass(frozen=True)
class Prometheus:
    """A PromQL target; with `instant`, it has one value at the end of the range."""

    expression: str
    legend: str = "__auto"
    instant: bool = False
    table: bool = False
    heatmap: bool = False


@dataclass(frozen=True)
class Sql:
    """An SQL target; a query with a column `time` may be drawn over time."""

    query: str
    over_time: bool = False


Target: TypeAlias = Prometheus | Sql


@dataclass(frozen=True)
class View:
    """One panel before it is placed.

    `title` is a short noun with its unit, `description` the question it answers; width in columns of 24, height in
    cells of 30 px. `last` fixes the panel's own range, such as 90d, independently of the dashboard's. A bar covers at
    least `bar`, and there are at most `points`.
    """

    kind: str
    title: str
    description: str
    targets: Sequence[Target]
    unit: str
    width: int
    height: int
    options: Json = field(default_factory=dict)
    defaults: Json = field(default_factory=dict)  # of every field
    overrides: Sequence[Json] = ()  # of some fields
    transformations: Sequence[Json] = ()
    links: Sequence[Json] = ()
    empty_is_fine: str = ""  # why the panel may be empty, if it may
    alerts: Sequence[str] = ()  # names of alerts on the data shown
    last: str = ""
    bar: str = ""
    points: int | None = None


@dataclass(frozen=True)
class Section:
    """A titled row of panels."""

    title: str
    views: Sequence[View]


@dataclass(frozen=True)
class Page:
    """A dashboard. Its uid is fixed, so that links and bookmarks keep working."""

    uid: str
    title: str
    description: str
    sections: Sequence[Section]
    variables: Sequence[Json]
    annotations: Sequence[Json] = ()
    since: str = "now-6h"
    refresh: str = "30s"

    def views(self) -> Iterator[View]:
        """Yield the panels in reading order."""
        return itertools.chain.from_iterable(section.views for section in self.sections)

    def json(self) -> Json:
        """Return the dashboard's JSON."""
        dashboard = core.Dashboard(
            title=self.title,
            uid=self.uid,
            description=self.description,
            tags=[TAG],
            editable=False,
            graphTooltip=core.GRAPH_TOOLTIP_MODE_SHARED_CROSSHAIR,
            refresh=self.refresh,
            schemaVersion=SCHEMA_VERSION,
            time=core.Time(self.since, "now"),
            timezone="browser",
            timePicker=_TimePicker(refreshIntervals=["10s", "30s", "1m", "5m"], timeOptions=[]),
            annotations=core.Annotations(list=list(self.annotations)),
            templating=core.Templating(list=list(self.variables)),
            links=[
                core.DashboardLink(title="Dashboards", tags=[TAG], asDropdown=True, includeVars=True, keepTime=True)
            ],
            panels=list(_place(self.sections)),
        ).auto_panel_ids()
        return _modern(json.loads(json.dumps(dashboard, cls=DashboardEncoder)))


class _TimePicker(core.TimePicker):  # type: ignore[misc]  # grafanalib ships no types
    def to_json_data(self) -> Json:
        return {"refresh_intervals": self.refreshIntervals}  # Grafana has built-in time ranges


class _Panel(core.Panel):  # type: ignore[misc]  # grafanalib ships no types
    """grafanalib's outer JSON of a panel; the content is passed as `extraJson`."""

    def to_json_data(self) -> Json:
        content: Json = self.panel_json({})
        return content


def _place(sections: Iterable[Section]) -> Iterator[core.Panel]:
    """Place the panels from left to right, each section under its own row."""
    y = 0
    for section in sections:
        yield core.RowPanel(title=section.title, gridPos=core.GridPos(h=1, w=COLUMNS, x=0, y=y))
        y, x, height = y + 1, 0, 0
        for view in section.views:
            if x + view.width > COLUMNS:
                y, x, height = y + height, 0, 0
            yield _panel(view, core.GridPos(h=view.height, w=view.width, x=x, y=y))
            x, height = x + view.width, max(height, view.height)
        y += height


def _panel(view: View, position: core.GridPos) -> _Panel:
    targets = [_target(target, reference) for target, reference in zip(view.targets, _references(), strict=False)]
    sources = [target["datasource"] for target in targets]
    inside = {
        "type": view.kind,
        "options": view.options,
        "fieldConfig": {
            "defaults": {"unit": view.unit, **_empty(view), **view.defaults},
            "overrides": _overrides(view),
        },
    }
    return _Panel(
        extraJson=inside,
        title=view.title,
        description=_described(view),
        gridPos=position,
        maxDataPoints=view.points,
        interval=view.bar or None,
        timeFrom=view.last or None,
        dataSource=sources[0] if all(source == sources[0] for source in sources) else MIXED,
        targets=targets,
        transformations=list(view.transformations),
        links=list(view.links),
    )


def _described(view: View) -> str:
    return f"{view.description} Watched by {', '.join(view.alerts)}." if view.alerts else view.description


def _empty(view: View) -> Json:
    """Return the text that an empty panel shows instead of "No data"."""
    return {"noValue": f"{view.empty_is_fine[0].upper()}{view.empty_is_fine[1:]}"} if view.empty_is_fine else {}


def _overrides(view: View) -> list[Json]:
    """Keep empty table cells empty and texts as texts: Grafana would show a key named 007 as the number 7."""
    if view.kind != "table":
        return list(view.overrides)
    cells = {"matcher": {"id": "byRegexp", "options": "/.*/"}, "properties": [{"id": "noValue", "value": "-"}]}
    texts = {"matcher": {"id": "byType", "options": "string"}, "properties": [{"id": "unit", "value": "string"}]}
    return [cells, texts, *view.overrides]


def _references() -> Iterator[str]:
    return iter("ABCDEFGHIJKLMNOPQRSTUVWXYZ")


def _target(target: Target, reference: str) -> Json:
    if isinstance(target, Sql):
        return sql_target(target.query, reference, over_time=target.over_time)
    return {
        "datasource": PROMETHEUS,
        "expr": target.expression,
        "exemplar": target.heatmap,
        "format": "heatmap" if target.heatmap else "table" if target.table else "time_series",
        "instant": target.instant,
        "range": not target.instant,
        "legendFormat": target.legend,
        "refId": reference,
    }


def sql_target(query: str, reference: str = "A", *, over_time: bool = False) -> Json:
    """Build an SQL target."""
    return {
        "datasource": POSTGRESQL,
        "editorMode": "code",
        "format": "time_series" if over_time else "table",
        "rawQuery": True,
        "rawSql": query,
        "refId": reference,
    }


def variable(name: str, kind: str, query: Any, *, chosen: str | None = None, **options: Any) -> Json:
    """Build a dashboard variable of kind datasource, query, custom or textbox; `chosen` is its initial value."""
    template = core.Template(name=name, type=kind, query=query, **options)
    content: Json = _without(template.to_json_data(), ("auto", "auto_min", "auto_count"))
    content["current"] = {"text": "All", "value": "$__all"} if content["includeAll"] else {}
    if chosen is not None:
        content["current"] = {"text": chosen, "value": chosen}
        content["options"] = [{"text": chosen, "value": chosen, "selected": True}]
    return content


def _modern(dashboard: Json) -> Json:
    """Remove properties that Grafana no longer reads, and nulls outside of panels, inside which a null can matter."""
    dashboard = _without(dashboard, _LEGACY_DASHBOARD)
    dashboard["panels"] = [
        _without(panel, _LEGACY_PANEL + (_LEGACY_ROW if panel["type"] == "row" else ()))
        for panel in dashboard["panels"]
    ]
    dashboard["templating"]["list"] = [_without(item, _LEGACY_VARIABLE) for item in dashboard["templating"]["list"]]
    return dashboard


def _without(content: Json, names: tuple[str, ...]) -> Json:
    return {name: value for name, value in content.items() if value is not None and name not in names}
