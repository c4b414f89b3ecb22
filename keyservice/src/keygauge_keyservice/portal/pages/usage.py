"""The usage page: a metric over time, by group, as a chart or table, compared with the previous period."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, render_template, url_for

from keygauge_keyservice.accounts import accounts, plans
from keygauge_keyservice.billing import forecast
from keygauge_keyservice.database import Connection
from keygauge_keyservice.keys.keys import Key
from keygauge_keyservice.portal import auth, date_range, formatting, own_keys, usage_figures
from keygauge_keyservice.portal.charts import timeline
from keygauge_keyservice.portal.charts.kind_layers import layers_of_kinds
from keygauge_keyservice.portal.charts.metric import METRICS, Metric, credits_metric
from keygauge_keyservice.portal.date_range import DateRange
from keygauge_keyservice.portal.usage_figures import Figures
from keygauge_keyservice.portal.usage_view import CHARTS, KIND, KIND_METRICS, NOUNS, TITLES, View, read_view
from keygauge_keyservice.texts import each, gettext, mark
from keygauge_keyservice.usage import kind_titles
from keygauge_keyservice.usage.buckets import Bucket
from keygauge_keyservice.usage.usage import Point
from keygauge_keyservice.web.context import services

blueprint = Blueprint("usage", __name__)

_POINTS_BESIDE_MAX, _NEWEST = 100, 31  # rows of the table next to a chart; with more points, only the newest
BUCKETS: dict[Bucket, str] = {"hour": mark("Hour"), "day": mark("Day"), "week": mark("Week"), "month": mark("Month")}
_BUCKET_NOUNS = {"hour": mark("hour"), "day": mark("day"), "week": mark("week"), "month": mark("month")}


@blueprint.get("/usage")
def show() -> str:
    """Show the view that the URL requests."""
    now = datetime.now(UTC)
    with services().connection() as connection:
        keys = own_keys.offered(connection)
        view = read_view(connection, now)
        figures = usage_figures.read(connection, view, now)
        metrics = _metrics(connection)
        expected = _forecast(connection, view, now) if view.metric == "cost" else None
    return render_template(
        "portal/usage.html",
        view=view,
        date_range=view.shown,
        by=figures.by,
        titles=each(TITLES),
        nouns=each(NOUNS),
        bucket=gettext(_BUCKET_NOUNS[view.bucket]),
        totals=figures.totals,
        earlier=figures.earlier,
        rows=figures.rows,
        rows_beyond=figures.rows_beyond,
        unpriced=figures.unpriced,
        kinds=[
            (kind_titles.title(kind), use, figures.earlier.kinds.get(kind))
            for kind, use in figures.totals.kinds.items()
        ],
        change=formatting.change,
        forecast=expected,
        query=view.query,
        calls_query=view.shown.query | calls_query(view.filters),
        **_toolbar(view, figures.by, metrics, keys),
        **_chart(view, figures, metrics.get(view.metric, METRICS["requests"])),
    )


def _metrics(connection: Connection) -> dict[str, Metric]:
    """Return the account's metrics, including credits if its plan has them."""
    plan = plans.require(connection, accounts.require(connection, auth.current_account_id()).plan_id)
    credit = next((limit.credit_nanousd for limit in plan.limits if limit.credit_nanousd), None)
    return METRICS | ({"credits": credits_metric(credit)} if credit else {})


def _forecast(connection: Connection, view: View, now: datetime) -> forecast.Forecast:
    key_id = view.key.id if view.key else None
    return forecast.find_forecast(connection, auth.current_account_id(), key_id=key_id, now=now)


def _toolbar(view: View, by: str, metrics: Mapping[str, Metric], keys: Sequence[Key]) -> dict[str, Any]:
    """Return the toolbar's options."""
    return {
        "presets": each(date_range.PRESETS),
        "metrics": {name: metric for name, metric in metrics.items() if by != KIND or name in KIND_METRICS},
        "kind_metrics": KIND_METRICS,
        "groupings": view.groupings,
        "buckets": {bucket: gettext(BUCKETS[bucket]) for bucket in view.shown.buckets},
        "charts": each(CHARTS),
        "key": view.key,
        "keys": keys,
        "key_labels": own_keys.labels([*keys, view.key] if view.key and view.key not in keys else keys),
        "is_part_of_keys": len(keys) == own_keys.OFFERED_MAX,
    }


def _chart(view: View, figures: Figures, metric: Metric) -> dict[str, Any]:
    """Return the chart and its table, which replaces the chart or is next to it."""
    points, zone = figures.points, view.shown.zone
    links = links_to_calls(points, view.shown, view.filters)
    if figures.by == KIND:
        layers = layers_of_kinds(points, view.metric)
    else:
        groups = [(row.group, row.name, row.tone) for row in figures.charted]
        layers = timeline.layers_of(metric, points, figures.charted_points, groups)
    is_table, is_area = view.chart == "table", view.chart == "area"
    return {
        "metric": metric,
        "layers": layers,
        "chart": ""
        if is_table
        else timeline.draw_layers(
            "usage", metric, layers, points, view.bucket, zone=zone, links=links, is_area=is_area
        ),
        "points": points,
        "table_rows": len(points) if is_table or len(points) <= _POINTS_BESIDE_MAX else _NEWEST,
        "links": links,
        "title_of": lambda point: timeline.title(point.start, view.bucket, zone),
    }


def links_to_calls(points: Sequence[Point], shown: DateRange, filters: Mapping[str, str]) -> list[str]:
    """Return the URL of each bar's calls."""
    starts = [max(point.start, shown.start) for point in points]
    ends = [*starts[1:], shown.end]
    spans = [DateRange(start, end, zone=shown.zone) for start, end in zip(starts, ends, strict=True)] if points else []
    given = calls_query(filters)
    return [f"{url_for('portal.calls.show')}?{urlencode(one.query | given, safe=':')}" for one in spans]


def calls_query(filters: Mapping[str, str]) -> dict[str, str]:
    """Return a view's filters as parameters of the call log."""
    return dict(filters) | ({"exact": "1"} if filters.keys() & {"route", "model", "tag"} else {})
