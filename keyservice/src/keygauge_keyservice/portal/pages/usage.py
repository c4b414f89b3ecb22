"""The usage page: totals, charts and tables of a range, for one key or all, and the same as CSV and JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, Response, jsonify, render_template, request, url_for

from keygauge_keyservice.billing import forecast
from keygauge_keyservice.csv_stream import usd, write_csv
from keygauge_keyservice.database import Connection
from keygauge_keyservice.errors import Problem
from keygauge_keyservice.keys import keys
from keygauge_keyservice.keys.keys import Key
from keygauge_keyservice.portal import auth, date_range
from keygauge_keyservice.portal.charts import timeline
from keygauge_keyservice.portal.date_range import DateRange
from keygauge_keyservice.portal.pages.keys import require_own
from keygauge_keyservice.usage import usage
from keygauge_keyservice.usage.query import Grouping
from keygauge_keyservice.usage.sums import UsageSums
from keygauge_keyservice.usage.usage import Bucket, Part, Point, Selection
from keygauge_keyservice.web.context import services

blueprint = Blueprint("usage", __name__)

_HOURLY_MAX = timedelta(days=7)
_ROWS_MAX = 20  # of a table; the CSV has them all
_GROUPINGS: dict[str, Grouping] = {"model": "model", "endpoint": "route", "key": "key"}
_SUMS = (
    *("requests", "limited", "client_errors", "server_errors", "input_tokens", "output_tokens"),
    *("cache_read_tokens", "cache_write_tokens", "reasoning_tokens"),
)
_FIGURES = (*_SUMS, "average_duration_s")


@dataclass(frozen=True)
class Row:
    """One line of a breakdown: how a group is named, and where a link leads that shows only its calls."""

    name: str
    tally: UsageSums
    key_id: str | None = None


@blueprint.get("/usage")
def show() -> str:
    """Show the range that the address names."""
    shown = date_range.read(request.args, now=datetime.now(UTC))
    with services().connection() as connection:
        key = _key(connection)
        selection = _selection(shown, key)
        listed = keys.list_keys(connection, auth.current_account_id())
        totals = usage.totals(connection, **selection)
        points = usage.series(connection, bucket=shown.bucket, **selection) if totals.requests else []
        hours = usage.series(connection, bucket="hour", **selection) if points and _is_hourly(shown) else points
        expected = forecast.find_forecast(connection, selection["account_id"], key_id=key.id if key else None)
        models = usage.breakdown(connection, by="model", **selection)
        routes = usage.breakdown(connection, by="route", **selection)
        by_key = [] if key else _named(connection, usage.breakdown(connection, by="key", **selection))
    given = {"key": key.id} if key else {}
    links, hourly_links = links_to_calls(points, shown, given), links_to_calls(hours, shown, given)
    hourly: Bucket = "hour" if _is_hourly(shown) else shown.bucket
    return render_template(
        "portal/usage.html",
        date_range=shown,
        presets=date_range.PRESETS,
        key=key,
        keys=listed,
        totals=totals,
        points=points,
        total_chart=timeline.draw_total(points, shown.bucket, links=links),
        tokens_chart=timeline.draw_tokens(points, shown.bucket, links=links, is_half=True),
        requests_chart=timeline.draw_requests(hours, hourly, links=hourly_links),
        requests_bucket=hourly,
        requests_per_hour=totals.requests_per_minute * 60,
        forecast=expected,
        cost_chart=timeline.draw_cost(points, shown.bucket, links=links) if totals.cost_nanousd else "",
        links=links,
        tables=_tables(models, routes, by_key),
        unpriced=[part.group or "no model" for part in models if part.is_unpriced],
        title_of=lambda point: timeline.title(point.start, shown.bucket),
        query=shown.query | ({"key": key.id} if key else {}),
        rows_max=_ROWS_MAX,
    )


@blueprint.get("/usage.csv")
def export() -> Response:
    """Answer with one of the page's tables as CSV: over time, by model, by endpoint or by key."""
    names, rows = _table()
    shown = date_range.read(request.args, now=datetime.now(UTC))
    name = f"usage-{request.args.get('table', 'time')}-{shown.start:%Y%m%d}-{shown.last_day:%Y%m%d}.csv"
    return Response(
        write_csv(names, rows),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


@blueprint.get("/usage.json")
def read() -> Response:
    """Answer with the same table as JSON."""
    names, rows = _table()
    documents = [dict(zip(names, row, strict=True)) for row in rows]
    for document in documents:
        document["cost_usd"] = str(document["cost_usd"])
    return jsonify({"rows": documents})


def links_to_calls(points: Sequence[Point], shown: DateRange, given: Mapping[str, str]) -> list[str]:
    """Return for each bar the address of its calls."""
    starts = [max(point.start, shown.start) for point in points]
    spans = (
        [DateRange(start, end) for start, end in zip(starts, [*starts[1:], shown.end], strict=True)] if points else []
    )
    return [f"{url_for('portal.calls.show')}?{urlencode(one.query | dict(given))}" for one in spans]


def _is_hourly(shown: DateRange) -> bool:
    """Tell whether requests are drawn by the hour though the range is too long for other figures by the hour."""
    return shown.end - shown.start <= _HOURLY_MAX


def _table() -> tuple[list[str], list[list[Any]]]:
    shown = date_range.read(request.args, now=datetime.now(UTC))
    if shown.error:
        raise Problem(422, "bad_range", shown.error)
    table = request.args.get("table", "time")
    with services().connection() as connection:
        selection = _selection(shown, _key(connection))
        if table == "time":
            points = usage.series(connection, bucket=shown.bucket, **selection)
            rows: Iterable[tuple[Sequence[str], UsageSums]] = [([point.start.isoformat()], point) for point in points]
            names = [f"{shown.bucket}_utc"]
        elif table == "hour" and _is_hourly(shown):
            rows = [
                ([point.start.isoformat()], point) for point in usage.series(connection, bucket="hour", **selection)
            ]
            names = ["hour_utc"]
        elif table == "model-time":
            trends = usage.series(connection, bucket=shown.bucket, group_by="model", **selection)
            rows = [([point.start.isoformat(), point.group or ""], point) for point in trends]
            names = [f"{shown.bucket}_utc", "model"]
        elif table in _GROUPINGS:
            parts = usage.breakdown(connection, by=_GROUPINGS[table], **selection)
            names = ["key_id", "key"] if table == "key" else [table]
            named = _named(connection, parts) if table == "key" else [Row(part.group, part) for part in parts]
            rows = [([row.key_id, row.name] if row.key_id else [row.name], row.tally) for row in named]
        else:
            raise Problem(404, "table_not_found", f"There is no table {table!r}.")
    lines = [
        [*group, *(getattr(tally, figure) for figure in _FIGURES), usd(tally.cost_nanousd)] for group, tally in rows
    ]
    return [*names, *_FIGURES, "cost_usd"], lines


def _selection(shown: DateRange, key: Key | None) -> Selection:
    return Selection(
        account_id=auth.current_account_id(),
        start=shown.start,
        end=shown.end,
        key_id=key.id if key else None,
    )


def _key(connection: Connection) -> Key | None:
    key_id = request.args.get("key")
    return require_own(connection, key_id) if key_id else None


def _named(connection: Connection, parts: Sequence[Part]) -> list[Row]:
    """Put the keys' names to their ids, deleted keys' too."""
    names = {key.id: key.name for key in keys.list_keys(connection, auth.current_account_id())}
    for part in parts:
        if part.group not in names:
            names[part.group] = f"{require_own(connection, part.group).name} (deleted)"
    return [Row(names[part.group], part, part.group) for part in parts]


def _tables(models: Sequence[Part], routes: Sequence[Part], by_key: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    tables = [
        ("model", [Row(part.group or "no model", part) for part in models]),
        ("endpoint", [Row(part.group, part) for part in routes]),
        ("key", list(by_key)),
    ]
    return [(name, rows) for name, rows in tables if rows]
