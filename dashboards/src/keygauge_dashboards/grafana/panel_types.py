"""Panel types, one function each, so that similar panels look the same on all dashboards."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from keygauge_dashboards.grafana.panels import Json, Prometheus, Target, View

_GREEN, _YELLOW, _RED = "green", "yellow", "red"
_COLOURED = {"type": "color-text"}  # without it, a cell's text has no colour
_IN_ORDER = {"mode": "palette-classic"}
BY_NAME = {"mode": "palette-classic-by-name"}  # so that a model has the same colour on every panel
STATUS_COLOURS = {"2xx": "green", "4xx": "yellow", "429": "orange", "5xx": "red"}
BAR = "15m"  # the length of the ledger's roll-ups
BARS = 31  # so that a month has one bar per day
# Soft maximum of axes by unit: without it, an axis with only zeros would go up to 10,000 %.
_SOFT_MAX = {"percentunit": 0.02, "currencyUSD": 0.01, "s": 0.1}


def limits(warning: float | None = None, critical: float | None = None) -> Json:
    """Colour values: green, yellow from `warning`, red from `critical`."""
    steps: list[Json] = [{"color": _GREEN, "value": None}]
    if warning is not None:
        steps.append({"color": _YELLOW, "value": warning})
    if critical is not None:
        steps.append({"color": _RED, "value": critical})
    return {"thresholds": {"mode": "absolute", "steps": steps}}


def plain() -> Json:
    """Return thresholds without colours, for values that are neither good nor bad."""
    return {"thresholds": {"mode": "absolute", "steps": [{"color": "text", "value": None}]}}


def stat(
    title: str,
    description: str,
    target: Target,
    *,
    unit: str,
    colours: Json | None = None,
    no_value: str = "-",
    **view: Any,
) -> View:
    """Build a panel with one number, above its sparkline if it has one."""
    has_course = isinstance(target, Prometheus) and not target.instant
    height = view.pop("height", 5 if has_course else 4)  # Grafana draws a sparkline from height 5
    defaults = {"color": {"mode": "thresholds"}, "noValue": no_value, **(colours or plain())}
    if has_course:
        defaults["displayName"] = "latest"  # a number without a name is centred, over its sparkline
        idle = {"match": "null+nan", "result": {"text": no_value, "color": "text"}}  # a latency while nothing is called
        defaults["mappings"] = [{"type": "special", "options": idle}]
    options = {
        "colorMode": "value",
        "graphMode": "area" if has_course else "none",
        "justifyMode": "auto",
        "orientation": "auto",
        "reduceOptions": _reduced("last" if has_course else "lastNotNull"),
        "showPercentChange": False,
        **({"text": {"titleSize": 12}} if has_course else {}),  # a larger name moves the number into its sparkline
        "textMode": "value_and_name" if has_course else "value",
        "wideLayout": False,
    }
    return View("stat", title, description, [target], unit, 6, height, options, defaults, **view)


def numbers(
    title: str, description: str, targets: Sequence[Target], *, unit: str, width: int, height: int = 3, **view: Any
) -> View:
    """Build a panel with several named numbers side by side."""
    options = {
        "colorMode": "none",
        "graphMode": "none",
        "justifyMode": "center",
        "orientation": "vertical",
        "reduceOptions": _reduced(),
        "showPercentChange": False,
        "text": {"titleSize": 12, "valueSize": 22},
        "textMode": "value_and_name",
        "wideLayout": False,
    }
    return View("stat", title, description, targets, unit, width, height, options, plain(), **view)


def lines(
    title: str,
    description: str,
    targets: Sequence[Target],
    *,
    unit: str,
    calcs: Sequence[str] = ("max",),
    colour: Json = _IN_ORDER,
    colours: Json | None = None,
    stacked: bool = False,
    width: int = 8,
    height: int = 8,
    **view: Any,
) -> View:
    """Build a panel with lines over time, or stacked areas."""
    custom = {
        "drawStyle": "line",
        "fillOpacity": 60 if stacked else 8,
        "lineWidth": 0 if stacked else 1,  # lines of zeros would be drawn on top
        "showPoints": "never",
        "spanNulls": False,
        "stacking": {"group": "A", "mode": "normal" if stacked else "none"},
        "axisSoftMax": _SOFT_MAX.get(unit, 1),
    }
    if colours:
        custom["thresholdsStyle"] = {"mode": "dashed"}
    defaults = {"color": colour, "min": 0, "custom": custom, **(colours or limits())}
    return View("timeseries", title, description, targets, unit, width, height, _over_time(calcs), defaults, **view)


def bars(
    title: str,
    description: str,
    targets: Sequence[Target],
    *,
    unit: str,
    calcs: Sequence[str] = ("sum",),
    width: int = 8,
    height: int = 8,
    bar: str = BAR,
    colour: Json = _IN_ORDER,
    **view: Any,
) -> View:
    """Build a panel with stacked bars, about thirty in the time range, placed at the start of their interval."""
    custom = {
        "barAlignment": 1,
        "barWidthFactor": 0.9,
        "drawStyle": "bars",
        "fillOpacity": 80,
        "lineWidth": 0,
        "showPoints": "never",
        "stacking": {"group": "A", "mode": "normal"},
        "axisSoftMax": _SOFT_MAX.get(unit, 1),
    }
    defaults = {"color": colour, "min": 0, "custom": custom, **limits()}
    options = _over_time(calcs)
    return View(
        "timeseries", title, description, targets, unit, width, height, options, defaults, bar=bar, points=BARS, **view
    )


def ranking(
    title: str,
    description: str,
    target: Target,
    *,
    unit: str,
    colours: Json | None = None,
    full: float | None = None,
    width: int = 8,
    height: int = 8,
    **view: Any,
) -> View:
    """Build a bar gauge that compares items by one number each; `full` is the value of a full bar."""
    options = {
        "displayMode": "basic",
        "maxVizHeight": 32,
        "minVizHeight": 16,
        "minVizWidth": 8,
        "namePlacement": "left",
        "orientation": "horizontal",
        "reduceOptions": _reduced(),
        "showUnfilled": True,
        "sizing": "manual",
        "valueMode": "color",
    }
    colour: Json = {"mode": "thresholds"} if colours else {"mode": "fixed", "fixedColor": "blue"}
    defaults = {"color": colour, "min": 0, **({"max": full} if full else {}), **(colours or limits())}
    if isinstance(target, Prometheus):  # Grafana shows no name of a single bar, unless the panel sets it
        defaults["displayName"] = re.sub(r"\{\{(\w+)\}\}", r"${__field.labels.\1}", target.legend)
    if unit == "locale":
        defaults["decimals"] = 0  # extrapolation makes an increase of 6 look like 6.02
    return View("bargauge", title, description, [target], unit, width, height, options, defaults, **view)


def table(
    title: str,
    description: str,
    target: Target,
    *,
    width: int = 12,
    height: int = 8,
    widths: Mapping[str, int] | None = None,
    paged: bool = False,
    **view: Any,
) -> View:
    """Build a table. `widths` are those of narrow columns in pixels; the others share the rest."""
    footer = {"countRows": False, "enablePagination": paged, "fields": "", "reducer": ["sum"], "show": False}
    options = {"cellHeight": "sm", "footer": footer, "showHeader": True}
    defaults = {"custom": {"align": "auto", "filterable": False, "minWidth": 70}, **limits()}
    overrides = [field(name, custom__width=width) for name, width in (widths or {}).items()]
    overrides += view.pop("overrides", ())
    return View(
        "table", title, description, [target], "none", width, height, options, defaults, overrides=overrides, **view
    )


def matrix(
    title: str, description: str, target: Target, *, row: str, column: str, unit: str, width: int = 8, **view: Any
) -> View:
    """Build a table that crosses two labels."""
    options = {"cellHeight": "sm", "showHeader": True}
    custom = {"align": "auto", "filterable": False, "minWidth": 60}
    defaults = {"custom": custom, "decimals": 0, **limits()}
    crossed = {"rowField": row, "columnField": column, "valueField": "Value", "emptyValue": "zero"}
    sort = {"fields": {}, "sort": [{"field": column}]}  # columns are in the order of rows
    shaped = [{"id": "sortBy", "options": sort}, {"id": "groupingToMatrix", "options": crossed}]
    return View(
        "table", title, description, [target], unit, width, 8, options, defaults, transformations=shaped, **view
    )


def heatmap(title: str, description: str, target: Target, *, unit: str, width: int = 8, **view: Any) -> View:
    """Build a heatmap of a histogram's observations over time."""
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
    return _override("byName", name, properties)


def fields_like(pattern: str, **properties: Any) -> Json:
    """Set properties of the fields whose names match."""
    return _override("byRegexp", pattern, properties)


def _override(matcher: str, options: str, properties: Mapping[str, Any]) -> Json:
    return {
        "matcher": {"id": matcher, "options": options},
        "properties": [{"id": key.replace("__", "."), "value": value} for key, value in properties.items()],
    }


def states(name: str, **colours: str) -> Json:
    """Colour the texts of a column."""
    options = {text: {"color": colour, "index": index} for index, (text, colour) in enumerate(colours.items())}
    return field(name, mappings=[{"type": "value", "options": options}], custom__cellOptions=_COLOURED)


def hidden(*names: str) -> list[Json]:
    """Hide columns that only links read; an empty cell makes that part of the link empty.

    Grafana 11 reads one of the two properties, later versions the other.
    """
    everywhere = {"legend": True, "tooltip": True, "viz": True}
    return [field(name, custom__hidden=True, custom__hideFrom=everywhere, noValue="") for name in names]


def gauge(name: str, colours: Json, **properties: Any) -> Json:
    """Fill the cells of a column by `limits`, from 0 to 1."""
    shown = {"type": "gauge", "mode": "basic", "valueDisplayMode": "text"}
    return field(name, **colours, color={"mode": "thresholds"}, min=0, max=1, custom__cellOptions=shown, **properties)


def status(name: str) -> Json:
    """Colour a column of statuses like everywhere else."""
    steps = [
        {"color": STATUS_COLOURS[kind], "value": value}
        for kind, value in (("2xx", None), ("4xx", 400), ("429", 429), ("4xx", 430), ("5xx", 500))
    ]
    return levels(name, {"thresholds": {"mode": "absolute", "steps": steps}})


def levels(name: str, colours: Json, **properties: Any) -> Json:
    """Colour the numbers of a column by `limits`."""
    return field(name, **colours, color={"mode": "thresholds"}, custom__cellOptions=_COLOURED, **properties)


def coloured(colours: Mapping[str, str]) -> list[Json]:
    """Give series fixed colours, by name."""
    return [field(name, color={"mode": "fixed", "fixedColor": colour}) for name, colour in colours.items()]


def keep(*names: str, **renamed: str) -> list[Json]:
    """Show only these columns of a table, in this order, with some renamed."""
    order = {name: index for index, name in enumerate((*names, *renamed))}
    return [
        {"id": "filterFieldsByName", "options": {"include": {"names": list(order)}}},
        {"id": "organize", "options": {"excludeByName": {}, "indexByName": order, "renameByName": renamed}},
    ]


def _reduced(calc: str = "lastNotNull") -> Json:
    return {"calcs": [calc], "fields": "", "values": False}


def _over_time(calcs: Sequence[str]) -> Json:
    return {
        "legend": {"calcs": list(calcs), "displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
