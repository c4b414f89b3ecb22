"""The usage page: a metric over time, by group, in a chart or a table, compared with the period before."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlencode

from flask import Blueprint, render_template, request, url_for

from keygauge_keyservice.accounts import accounts, plans
from keygauge_keyservice.billing import forecast
from keygauge_keyservice.database import Connection
from keygauge_keyservice.keys import keys
from keygauge_keyservice.keys.keys import Key
from keygauge_keyservice.portal import auth, date_range, formatting, reader
from keygauge_keyservice.portal.charts import timeline
from keygauge_keyservice.portal.charts.metric import METRICS, credits_metric
from keygauge_keyservice.portal.date_range import DateRange
from keygauge_keyservice.portal.pages import key_choice
from keygauge_keyservice.portal.pages.keys import require_own
from keygauge_keyservice.usage import usage
from keygauge_keyservice.usage.query import Grouping
from keygauge_keyservice.usage.sums import UsageSums
from keygauge_keyservice.usage.usage import Bucket, Part, Point, Selection
from keygauge_keyservice.web.context import services

blueprint = Blueprint("usage", __name__)

_GROUPS_MAX = 5  # with a colour of their own
_ROWS_MAX = 20  # of a table; the export has them all
_TEXT_LENGTH_MAX = 200
GROUPINGS: dict[str, Grouping] = {"model": "model", "endpoint": "route", "key": "key", "status": "status"}
CHARTS = {"bars": "Bars", "area": "Area", "table": "Table"}
BUCKETS: dict[Bucket, str] = {"hour": "Hour", "day": "Day", "week": "Week", "month": "Month"}
_FILTERS = ("key", "model", "endpoint")
_NEXT = {"key": "model", "model": "key", "endpoint": "key"}  # what a group that is looked into is told apart by


@dataclass(frozen=True)
class View:
    """What the address asks for; parts that make no sense count as absent."""

    shown: DateRange
    metric: str
    group: str
    bucket: Bucket
    chart: str
    filters: Mapping[str, str]

    @property
    def query(self) -> dict[str, str]:
        """Return the view as parts of an address, without what is the default."""
        chosen = {"metric": self.metric, "group": self.group, "chart": self.chart}
        defaults = {"metric": "requests", "group": "none", "chart": "bars"}
        parts = {name: value for name, value in chosen.items() if value != defaults[name]}
        if self.bucket != self.shown.bucket:
            parts["bucket"] = self.bucket
        return self.shown.query | dict(self.filters) | parts

    def address(self, **changes: str | None) -> str:
        """Return the address of this view with some parts changed, or dropped where they are None."""
        parts = {name: value for name, value in {**self.query, **changes}.items() if value is not None}
        return f"{url_for('portal.usage.show')}?{urlencode(parts)}"


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
        listed = keys.list_keys(connection, auth.current_account_id())
        view = read_view(now, key_choice.labels(listed))
        selection = select(connection, view)
        before = Selection(**{**selection, **_ends(view.shown.previous(now=now))})  # type: ignore[typeddict-item]
        plan = plans.require(connection, accounts.require(connection, auth.current_account_id()).plan_id)
        totals, earlier = usage.totals(connection, **selection), usage.totals(connection, **before)
        by = view.group if view.group != "none" else "model"
        parts = usage.breakdown(connection, by=GROUPINGS[by], **selection) if totals.requests else []
        then = usage.breakdown(connection, by=GROUPINGS[by], **before) if parts else []
        rows = _rows(view, by, parts, then, name_keys(connection, listed, parts) if by == "key" else {})
        points = usage.series(connection, bucket=view.bucket, zone=view.shown.zone.key, **selection) if parts else []
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
        expected = forecast.find_forecast(connection, selection["account_id"], key_id=selection.get("key_id"), now=now)
        key = keys.require(connection, view.filters["key"]) if "key" in view.filters else None
    credit = next((limit.credit_nanousd for limit in plan.limits if limit.credit_nanousd), None)
    metrics = METRICS | ({"credits": credits_metric(credit)} if credit else {})
    metric = metrics.get(view.metric, METRICS["requests"])
    links = links_to_calls(points, view.shown, view.filters)
    groups = [(row.group, row.name, row.tone) for row in rows[: len(tops)]]
    layers = timeline.layers_of(metric, points, grouped, groups)
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
        key=key,
        key_labels=key_choice.labels(listed),
        keys=listed,
        totals=totals,
        earlier=earlier,
        rows=rows,
        rows_max=_ROWS_MAX,
        is_first=not earlier.requests,
        points=points,
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
        unpriced=[part.group or "no model" for part in parts if part.is_unpriced] if by == "model" else [],
        forecast=expected,
        query=view.query,
        calls_query=view.shown.query | calls_query(view.filters),
    )


def read_view(now: datetime, labels: Mapping[str, str]) -> View:
    """Read what the address asks for; keys are given by id or by a label of `labels`."""
    given = request.args
    shown = date_range.read(given, now=now, zone=reader.zone())
    filters = {
        name: text[:_TEXT_LENGTH_MAX] for name in _FILTERS if (text := given.get(name, "").strip()) and "\0" not in text
    }
    if "key" in filters:
        filters["key"] = key_choice.id_of(filters["key"], labels)
    return View(
        shown=shown,
        metric=_one_of({*METRICS, "credits"}, given.get("metric"), "requests"),
        group=_one_of(GROUPINGS, given.get("group"), "none"),
        bucket=next((one for one in shown.buckets if one == given.get("bucket")), shown.bucket),
        chart=_one_of(CHARTS, given.get("chart"), "bars"),
        filters=filters,
    )


def select(connection: Connection, view: View) -> Selection:
    """Return the calls that a view counts; the key must be the account's own.

    Raises:
        Problem: 404, there is no such key here.
    """
    selection = Selection(account_id=auth.current_account_id(), start=view.shown.start, end=view.shown.end)
    if "key" in view.filters:
        selection["key_id"] = require_own(connection, view.filters["key"]).id
    if "model" in view.filters:
        selection["model"] = view.filters["model"]
    if "endpoint" in view.filters:
        selection["route"] = view.filters["endpoint"]
    return selection


def links_to_calls(points: Sequence[Point], shown: DateRange, filters: Mapping[str, str]) -> list[str]:
    """Return for each bar the address of its calls."""
    starts = [max(point.start, shown.start) for point in points]
    ends = [*starts[1:], shown.end]
    spans = [DateRange(start, end, zone=shown.zone) for start, end in zip(starts, ends, strict=True)] if points else []
    given = calls_query(filters)
    return [f"{url_for('portal.calls.show')}?{urlencode(one.query | given)}" for one in spans]


def calls_query(filters: Mapping[str, str]) -> dict[str, str]:
    """Write a view's filters as the log of calls has them."""
    given = {"route" if name == "endpoint" else name: value for name, value in filters.items()}
    return given | ({"exact": "1"} if given.keys() & {"route", "model"} else {})


def name_keys(connection: Connection, listed: Sequence[Key], parts: Sequence[Part]) -> dict[str, str]:
    """Return the keys' names by id, deleted keys' too."""
    names = {key.id: key.name for key in listed}
    for part in parts:
        if part.group not in names:
            names[part.group] = f"{require_own(connection, part.group).name} (deleted)"
    return names


def _rows(view: View, by: str, parts: Sequence[Part], earlier: Sequence[Part], names: Mapping[str, str]) -> list[Row]:
    before = {part.group: part for part in earlier}
    nothing = UsageSums()
    return [
        Row(
            part.group,
            names.get(part.group) or part.group or "No model",
            part,
            before.get(part.group, nothing),
            view.address(**{by: part.group, "group": _NEXT[by]}) if by in _FILTERS and part.group else None,
            f"tone-{rank}" if rank <= _GROUPS_MAX else "tone-other",
        )
        for rank, part in enumerate(parts, 1)
    ]


def _one_of(known: Container[str], text: str | None, default: str) -> str:
    return text if text is not None and text in known else default


def _ends(shown: DateRange) -> dict[str, datetime]:
    return {"start": shown.start, "end": shown.end}
