"""The kinds of panel that the dashboards are made of: one function each, so that the same question looks the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keygauge_dashboards.grafana.panels import Json, Target, View

_GREEN, _YELLOW, _RED = "green", "yellow", "red"
_COLOURED = {"type": "color-text"}  # without it a cell shows its text without the colour


def limits(warning: float | None = None, critical: float | None = None) -> Json:
    """Colour values: green, yellow from `warning`, red from `critical`."""
    steps: list[Json] = [{"color": _GREEN, "value": None}]
    if warning is not None:
        steps.append({"color": _YELLOW, "value": warning})
    if critical is not None:
        steps.append({"color": _RED, "value": critical})
    return {"thresholds": {"mode": "absolute", "steps": steps}}


def stat(
    title: str,
    description: str,
    target: Target,
    *,
    unit: str,
    colours: Json | None = None,
    width: int = 3,
    no_value: str = "-",
    height: int = 4,
    **view: Any,
) -> View:
    """Show one number and its recent course."""
    defaults = {"color": {"mode": "thresholds"}, "noValue": no_value, **(colours or limits())}
    options = {
        "colorMode": "value",
        "graphMode": "area",
        "justifyMode": "auto",
        "orientation": "auto",
        "reduceOptions": _last(),
        "showPercentChange": False,
        "textMode": "value",
        "wideLayout": True,
    }
    return View("stat", title, description, [target], unit, width, height, options, defaults, **view)


def numbers(
    title: str, description: str, targets: Sequence[Target], *, unit: str, width: int, height: int = 4, **view: Any
) -> View:
    """Show some numbers side by side, each with its name."""
    options = {
        "colorMode": "none",
        "graphMode": "none",
        "justifyMode": "auto",
        "orientation": "horizontal",
        "reduceOptions": _last(),
        "showPercentChange": False,
        "textMode": "value_and_name",
        "wideLayout": True,
    }
    return View("stat", title, description, targets, unit, width, height, options, limits(), **view)


def lines(
    title: str,
    description: str,
    targets: Sequence[Target],
    *,
    unit: str,
    calcs: Sequence[str] = ("mean", "max"),
    colours: Json | None = None,
    width: int = 8,
    **view: Any,
) -> View:
    """Draw lines over time."""
    custom = {"drawStyle": "line", "fillOpacity": 8, "lineWidth": 1, "showPoints": "never", "spanNulls": False}
    if colours:
        custom["thresholdsStyle"] = {"mode": "dashed"}
    defaults = {"color": {"mode": "palette-classic"}, "min": 0, "custom": custom, **(colours or limits())}
    return View("timeseries", title, description, targets, unit, width, 8, _over_time(calcs), defaults, **view)


def bars(
    title: str,
    description: str,
    targets: Sequence[Target],
    *,
    unit: str,
    calcs: Sequence[str] = ("sum",),
    width: int = 8,
    **view: Any,
) -> View:
    """Draw stacked bars over time."""
    custom = {
        "drawStyle": "bars",
        "fillOpacity": 70,
        "lineWidth": 0,
        "showPoints": "never",
        "stacking": {"group": "A", "mode": "normal"},
    }
    defaults = {"color": {"mode": "palette-classic"}, "min": 0, "custom": custom, **limits()}
    return View("timeseries", title, description, targets, unit, width, 8, _over_time(calcs), defaults, **view)


def ranking(
    title: str,
    description: str,
    target: Target,
    *,
    unit: str,
    colours: Json | None = None,
    full: float | None = None,
    width: int = 8,
    **view: Any,
) -> View:
    """Compare things by one number each; `full` is the value of a whole bar."""
    options = {
        "displayMode": "gradient",
        "maxVizHeight": 300,
        "minVizHeight": 16,
        "minVizWidth": 8,
        "namePlacement": "auto",
        "orientation": "horizontal",
        "reduceOptions": _last(),
        "showUnfilled": True,
        "sizing": "auto",
        "valueMode": "color",
    }
    mode = "thresholds" if colours else "continuous-BlPu"
    defaults = {"color": {"mode": mode}, "min": 0, **({"max": full} if full else {}), **(colours or limits())}
    return View("bargauge", title, description, [target], unit, width, 8, options, defaults, **view)


def table(title: str, description: str, target: Target, *, unit: str = "none", width: int = 12, **view: Any) -> View:
    """List rows."""
    options = {"cellHeight": "sm", "showHeader": True}
    defaults = {"custom": {"align": "auto", "filterable": True}, **limits()}
    return View("table", title, description, [target], unit, width, 8, options, defaults, **view)


def log(title: str, description: str, target: Target, *, width: int, height: int, **view: Any) -> View:
    """List many rows, page by page."""
    options = {
        "cellHeight": "sm",
        "footer": {"countRows": False, "enablePagination": True, "fields": "", "reducer": ["sum"], "show": False},
        "showHeader": True,
    }
    defaults = {"custom": {"align": "auto", "filterable": True}, **limits()}
    return View("table", title, description, [target], "none", width, height, options, defaults, **view)


def matrix(
    title: str, description: str, target: Target, *, row: str, column: str, unit: str, width: int = 8, **view: Any
) -> View:
    """Cross two labels."""
    options = {"cellHeight": "sm", "showHeader": True}
    defaults = {"custom": {"align": "auto", "filterable": False}, "decimals": 0, **limits()}
    crossed = {"rowField": row, "columnField": column, "valueField": "Value", "emptyValue": "zero"}
    shaped = [{"id": "groupingToMatrix", "options": crossed}]
    return View(
        "table", title, description, [target], unit, width, 8, options, defaults, transformations=shaped, **view
    )


def donut(title: str, description: str, target: Target, *, unit: str, width: int = 8, **view: Any) -> View:
    """Show the parts of a whole, one row each."""
    options = {
        "displayLabels": ["percent"],
        "legend": {"displayMode": "table", "placement": "right", "showLegend": True, "values": ["value", "percent"]},
        "pieType": "donut",
        "reduceOptions": {"calcs": [], "fields": "", "values": True},
        "tooltip": {"mode": "single", "sort": "none"},
    }
    defaults = {"color": {"mode": "palette-classic"}, **limits()}
    return View("piechart", title, description, [target], unit, width, 8, options, defaults, **view)


def heatmap(title: str, description: str, target: Target, *, unit: str, width: int = 8, **view: Any) -> View:
    """Show how a histogram's observations are spread over time."""
    options = {
        "calculate": False,
        "cellGap": 1,
        "color": {
            "exponent": 0.5,
            "fill": "dark-orange",
            "mode": "scheme",
            "scale": "exponential",
            "scheme": "Oranges",
            "steps": 64,
        },
        "exemplars": {"color": "rgba(255,0,255,0.7)"},
        "filterValues": {"le": 1e-9},
        "legend": {"show": True},
        "rowsFrame": {"layout": "auto"},
        "showValue": "never",
        "tooltip": {"mode": "single", "showColorScale": False, "yHistogram": False},
        "yAxis": {"axisPlacement": "left", "reverse": False, "unit": unit},
    }
    return View("heatmap", title, description, [target], "short", width, 8, options, limits(), **view)


def field(name: str, **properties: Any) -> Json:
    """Set properties of one field of a panel."""
    return {
        "matcher": {"id": "byName", "options": name},
        "properties": [{"id": key.replace("__", "."), "value": value} for key, value in properties.items()],
    }


def states(name: str, **colours: str) -> Json:
    """Colour the texts of a column."""
    options = {text: {"color": colour, "index": index} for index, (text, colour) in enumerate(colours.items())}
    return field(name, mappings=[{"type": "value", "options": options}], custom__cellOptions=_COLOURED)


def levels(name: str, colours: Json, **properties: Any) -> Json:
    """Colour the numbers of a column by `limits`."""
    return field(name, **colours, color={"mode": "thresholds"}, custom__cellOptions=_COLOURED, **properties)


def coloured(**colours: str) -> list[Json]:
    """Give series fixed colours, by name."""
    return [
        field(name.replace("_", " "), color={"mode": "fixed", "fixedColor": colour}) for name, colour in colours.items()
    ]


def keep(*names: str, **renamed: str) -> list[Json]:
    """Show these columns of a table only, in this order, some under another name."""
    order = {name: index for index, name in enumerate((*names, *renamed))}
    return [
        {"id": "filterFieldsByName", "options": {"include": {"names": list(order)}}},
        {"id": "organize", "options": {"excludeByName": {}, "indexByName": order, "renameByName": renamed}},
    ]


def _last() -> Json:
    return {"calcs": ["lastNotNull"], "fields": "", "values": False}


def _over_time(calcs: Sequence[str]) -> Json:
    return {
        "legend": {"calcs": list(calcs), "displayMode": "table", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
