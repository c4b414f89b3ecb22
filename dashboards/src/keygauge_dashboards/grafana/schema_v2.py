"""Conversion of classic dashboard JSON to Grafana's schema v2: elements, rows of a grid, and queries by kind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from keygauge_dashboards.grafana.panels import Json

API_VERSION = "dashboard.grafana.app/v2"
FOLDER_API_VERSION = "folder.grafana.app/v1"

_CURSORS = ("Off", "Crosshair", "Tooltip")
_HIDE = ("dontHide", "hideLabel", "hideVariable")
_REFRESH = ("never", "onDashboardLoad", "onTimeRangeChanged")
_SORT = ("disabled", "alphabeticalAsc")
_KINDS = {
    "query": "QueryVariable",
    "datasource": "DatasourceVariable",
    "custom": "CustomVariable",
    "textbox": "TextVariable",
}
_ANNOTATION = ("name", "enable", "iconColor", "datasource", "target")


def resource(dashboard: Json) -> Json:
    """Convert a classic dashboard to a resource of the API group `dashboard.grafana.app`."""
    return _named(API_VERSION, "Dashboard", dashboard["uid"], _spec(dashboard))


def folder(uid: str, title: str) -> Json:
    """Build a folder resource, which Git Sync reads from `_folder.json`."""
    return _named(FOLDER_API_VERSION, "Folder", uid, {"title": title})


def _named(version: str, kind: str, name: str, spec: Json) -> Json:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec}


def _kind(kind: str, /, **spec: Any) -> Json:
    return {"kind": kind, "spec": spec}


def _spec(dashboard: Json) -> Json:
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    return {
        **{name: dashboard[name] for name in ("title", "description", "tags", "editable", "links")},
        "annotations": [_annotation(one) for one in dashboard["annotations"]["list"]],
        "cursorSync": _CURSORS[dashboard["graphTooltip"]],
        "elements": {_name(panel): _panel(panel) for panel in panels},
        "layout": _kind("RowsLayout", rows=list(_rows(dashboard["panels"]))),
        "preload": False,
        "timeSettings": {
            **dashboard["time"],
            "timezone": dashboard["timezone"],
            "autoRefresh": dashboard["refresh"],
            "autoRefreshIntervals": dashboard["timepicker"]["refresh_intervals"],
            "fiscalYearStartMonth": 0,
            "hideTimepicker": False,
        },
        "variables": [_variable(one) for one in dashboard["templating"]["list"]],
    }


def _name(panel: Json) -> str:
    return f"panel-{panel['id']}"


def _rows(panels: list[Json]) -> Iterator[Json]:
    """Yield each row with its panels, positioned relative to the bottom of the row's title."""
    starts = [index for index, panel in enumerate(panels) if panel["type"] == "row"]
    for start, end in zip(starts, (*starts[1:], len(panels)), strict=True):
        top = panels[start]["gridPos"]["y"] + panels[start]["gridPos"]["h"]
        grid = _kind("GridLayout", items=[_item(panel, top) for panel in panels[start + 1 : end]])
        yield _kind("RowsLayoutRow", title=panels[start]["title"], collapse=False, layout=grid)


def _item(panel: Json, top: int) -> Json:
    place = panel["gridPos"]
    element = {"kind": "ElementReference", "name": _name(panel)}
    return _kind(
        "GridLayoutItem", x=place["x"], y=place["y"] - top, width=place["w"], height=place["h"], element=element
    )


def _panel(panel: Json) -> Json:
    options = {name: panel[name] for name in ("interval", "maxDataPoints", "timeFrom") if name in panel}
    data = _kind(
        "QueryGroup",
        queries=[_panel_query(target) for target in panel["targets"]],
        transformations=[_transformation(one) for one in panel["transformations"]],
        queryOptions=options,
    )
    drawn = {"kind": "VizConfig", "group": panel["type"], "version": ""}
    drawn["spec"] = {"options": panel["options"], "fieldConfig": panel["fieldConfig"]}
    texts = {name: panel[name] for name in ("id", "title", "description", "links", "transparent")}
    return _kind("Panel", **texts, data=data, vizConfig=drawn)


def _panel_query(target: Json) -> Json:
    rest = {name: value for name, value in target.items() if name not in {"datasource", "refId"}}
    return _kind("PanelQuery", refId=target["refId"], hidden=False, query=_query(target["datasource"], rest))


def _query(source: Json, spec: Json) -> Json:
    return {
        "kind": "DataQuery",
        "group": source["type"],
        "version": "v0",
        "datasource": {"name": source["uid"]},
        "spec": spec,
    }


def _transformation(given: Json) -> Json:
    return {"kind": "Transformation", "group": given["id"], "spec": {"options": given["options"]}}


def _annotation(given: Json) -> Json:
    target = {name: value for name, value in given["target"].items() if name != "datasource"}
    spec = {name: given[name] for name in ("name", "enable", "iconColor")}
    more = {name: value for name, value in given.items() if name not in _ANNOTATION}
    return _kind(
        "AnnotationQuery",
        **spec,
        hide=False,
        query=_query(given["datasource"], target),
        **({"legacyOptions": more} if more else {}),
    )


def _variable(given: Json) -> Json:
    spec = {
        "name": given["name"],
        "label": given["label"],
        "hide": _HIDE[given["hide"]],
        "skipUrlSync": False,
        "current": {"text": "", "value": "", **given["current"]},
    }
    if given["type"] == "textbox":
        return _kind(_KINDS["textbox"], **spec, query=given["query"])
    spec |= {name: given[name] for name in ("multi", "includeAll", "options")} | {"allowCustomValue": True}
    spec |= {"allValue": given["allValue"]} if "allValue" in given else {}
    if given["type"] == "custom":
        return _kind(_KINDS["custom"], **spec, query=given["query"])
    spec |= {"refresh": _REFRESH[given["refresh"]], "regex": given.get("regex", "")}
    if given["type"] == "datasource":
        return _kind(_KINDS["datasource"], **spec, pluginId=given["query"])
    variable_query = given["query"] if isinstance(given["query"], dict) else {"__legacyStringValue": given["query"]}
    return _kind(_KINDS["query"], **spec, sort=_SORT[given["sort"]], query=_query(given["datasource"], variable_query))
