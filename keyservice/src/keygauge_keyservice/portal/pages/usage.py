"""The usage page: a metric over time, by group, in a chart or a table, compared with the period before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlencode

from flask import Blueprint, render_template, url_for

from keygauge_keyservice.accounts import accounts, plans
from keygauge_keyservice.billing import forecast
from keygauge_keyservice.database import Connection
from keygauge_keyservice.portal import auth, date_range, formatting, own_keys
from keygauge_keyservice.portal.charts import timeline
from keygauge_keyservice.portal.charts.metric import METRICS, credits_metric
from keygauge_keyservice.portal.date_range import DateRange
from keygauge_keyservice.portal.usage_view import CHARTS, GROUPINGS, View, read_view, select
from keygauge_keyservice.usage import kinds, usage
from keygauge_keyservice.usage.buckets import Bucket
from keygauge_keyservice.usage.ranking import Order
from keygauge_keyservice.usage.sums import UsageSums
from keygauge_keyservice.usage.usage import Part, Point, Selection
from keygauge_keyservice.web.context import services

blueprint = Blueprint("usage", __name__)

_GROUPS_MAX = 5  # with a colour of their own
_POINTS_BESIDE_MAX, _NEWEST = 100, 31  # rows of the table beside a chart; of more points the newest
_ROWS_MAX = 20  # of a table; the export has them all
_ORDERS: Mapping[str, Order] = {"tokens": "tokens", "cost": "cost", "credits": "cost"}  # of groups, by metric
BUCKETS: dict[Bucket, str] = {"hour": "Hour", "day": "Day", "week": "Week", "month": "Month"}
_FILTER_OF = {"key": "key", "model": "model", "endpoint": "route"}
_NEXT = {"key": "model", "model": "key", "endpoint": "key"}  # what a group that is looked into is told apart by


@dataclass(frozen=True)
class Row:
    """One line of a breakdown, with the same group in the period before and where a link leads that shows it alone."""

    group: str
    name: str
    sums: UsageSums
    before: UsageSums
    address: str | None = None
    tone: str = "tone-other"


@blueprint.get("/usage")
def show() -> str:
    """Show the view that the address names."""
    now = datetime.now(UTC)
    with services().connection() as connection:
        listed = own_keys.offered(connection)
        view = read_view(connection, now)
        selection = select(view)
        before = Selection(**{**selection, **_ends(view.shown.previous(now=now))})  # type: ignore[typeddict-item]
        plan = plans.require(connection, accounts.require(connection, auth.current_account_id()).plan_id)
        totals, earlier = usage.totals(connection, **selection), usage.totals(connection, **before)
        by = view.group if view.group != "none" else "model"
        order = _ORDERS.get(view.metric, "requests")
        found = usage.top(connection, by=GROUPINGS[by], most=_ROWS_MAX, order=order, **selection)
        groups = [part.group for part in found.parts]
        names = own_keys.names(connection, groups) if by == "key" else {}
        then = usage.breakdown(connection, by=GROUPINGS[by], only=groups, **before) if groups else []
        rows = _rows(view, by, found.parts, then, names)
        points = (
            usage.series(connection, bucket=view.bucket, zone=view.shown.zone.key, **selection)
            if totals.requests
            else []
        )
        tops = [row.group for row in rows[:_GROUPS_MAX]] if view.group != "none" else []
        grouped = (
            usage.series(
                connection,
                bucket=view.bucket,
                zone=view.shown.zone.key,
                group_by=GROUPINGS[by],
                only=tops,
                **selection,
            )
            if tops and points
            else []
        )
        expected = _forecast(connection, selection, now) if view.metric == "cost" else None
    credit = next((limit.credit_nanousd for limit in plan.limits if limit.credit_nanousd), None)
    metrics = METRICS | ({"credits": credits_metric(credit)} if credit else {})
    metric = metrics.get(view.metric, METRICS["requests"])
    links = links_to_calls(points, view.shown, view.filters)
    layers = timeline.layers_of(metric, points, grouped, [(row.group, row.name, row.tone) for row in rows[: len(tops)]])
    return render_template(
        "portal/usage.html",
        view=view,
        date_range=view.shown,
        presets=date_range.PRESETS,
        metrics=metrics,
        metric=metric,
        groupings=GROUPINGS,
        charts=CHARTS,
        buckets={bucket: BUCKETS[bucket] for bucket in view.shown.buckets},
        by=by,
        order=order,
        key=view.key,
        key_labels=own_keys.labels([*listed, view.key] if view.key and view.key not in listed else listed),
        is_part_of_keys=len(listed) == own_keys.OFFERED_MAX,
        keys=listed,
        totals=totals,
        kinds=kinds.told(totals.details),
        earlier=earlier,
        rows=rows,
        rows_beyond=found.groups - len(rows),
        points=points,
        table_rows=len(points) if view.chart == "table" or len(points) <= _POINTS_BESIDE_MAX else _NEWEST,
        layers=layers,
        chart=""
        if view.chart == "table"
        else timeline.draw_layers(
            "usage",
            metric,
            layers,
            points,
            view.bucket,
            zone=view.shown.zone,
            links=links,
            is_area=view.chart == "area",
        ),
        links=links,
        title_of=lambda point: timeline.title(point.start, view.bucket, view.shown.zone),
        change=formatting.change,
        unpriced=[part.group or "no model" for part in found.parts if part.is_unpriced] if by == "model" else [],
        forecast=expected,
        query=view.query,
        calls_query=view.shown.query | calls_query(view.filters),
    )


def links_to_calls(points: Sequence[Point], shown: DateRange, filters: Mapping[str, str]) -> list[str]:
    """Return for each bar the address of its calls."""
    starts = [max(point.start, shown.start) for point in points]
    ends = [*starts[1:], shown.end]
    spans = [DateRange(start, end, zone=shown.zone) for start, end in zip(starts, ends, strict=True)] if points else []
    given = calls_query(filters)
    return [f"{url_for('portal.calls.show')}?{urlencode(one.query | given)}" for one in spans]


def calls_query(filters: Mapping[str, str]) -> dict[str, str]:
    """Write a view's filters as the log of calls has them."""
    return dict(filters) | ({"exact": "1"} if filters.keys() & {"route", "model"} else {})


def _forecast(connection: Connection, selection: Selection, now: datetime) -> forecast.Forecast:
    return forecast.find_forecast(connection, selection["account_id"], key_id=selection.get("key_id"), now=now)


def _rows(view: View, by: str, parts: Sequence[Part], earlier: Sequence[Part], names: Mapping[str, str]) -> list[Row]:
    before = {part.group: part for part in earlier}
    nothing = UsageSums()
    return [
        Row(
            part.group,
            names.get(part.group) or part.group or "No model",
            part,
            before.get(part.group, nothing),
            view.address(**{_FILTER_OF[by]: part.group, "group": _NEXT[by]}) if by in _NEXT and part.group else None,
            f"tone-{rank}" if rank <= _GROUPS_MAX else "tone-other",
        )
        for rank, part in enumerate(parts, 1)
    ]


def _ends(shown: DateRange) -> dict[str, datetime]:
    return {"start": shown.start, "end": shown.end}
