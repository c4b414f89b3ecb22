"""The usage page's tables as files: over time, by group, and by group over time, as CSV and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response, jsonify, request

from keygauge_keyservice.csv_stream import usd
from keygauge_keyservice.errors import Problem
from keygauge_keyservice.keys import keys
from keygauge_keyservice.portal import auth, own_keys
from keygauge_keyservice.portal.usage_view import GROUPINGS, View, read_view, select
from keygauge_keyservice.usage import usage
from keygauge_keyservice.usage.sums import DetailedSums
from keygauge_keyservice.web import export
from keygauge_keyservice.web.context import services

blueprint = Blueprint("usage_table", __name__)

_FIGURES = (
    *("requests", "limited", "client_errors", "server_errors", "input_tokens", "output_tokens"),
    *("cache_read_tokens", "cache_write_tokens", "reasoning_tokens", "average_duration_s"),
)


@blueprint.get("/usage.csv")
def export_csv() -> Response:
    """Answer with one of the page's tables as CSV."""
    view, names, rows = _table()
    days = f"{view.shown.first_day:%Y%m%d}-{view.shown.last_day:%Y%m%d}"
    return export.as_csv(f"usage-{request.args.get('table', 'time')}-{days}", names, rows)


@blueprint.get("/usage.json")
def export_json() -> Response:
    """Answer with the same table as JSON."""
    _, names, rows = _table()
    documents = [dict(zip(names, row, strict=True)) for row in rows]
    for document in documents:
        document["cost_usd"] = str(document["cost_usd"])
    return jsonify({"rows": documents})


def _table() -> tuple[View, list[str], list[list[Any]]]:
    table = request.args.get("table", "time")
    group, is_over_time = table.removesuffix("-time"), table == "time" or table.endswith("-time")
    if table != "time" and group not in GROUPINGS:
        raise Problem(404, "table_not_found", f"Unknown table: {table!r}.")
    with services().connection() as connection:
        listed = keys.list_keys(connection, auth.current_account_id())
        view = read_view(datetime.now(UTC), own_keys.labels(listed))
        if view.shown.error:
            raise Problem(422, "bad_range", view.shown.error)
        selection, zone = select(connection, view), view.shown.zone
        names: list[str] = [view.bucket] if is_over_time else []
        rows: Sequence[tuple[Sequence[str], DetailedSums]]
        if table == "time":
            points = usage.series(connection, bucket=view.bucket, zone=zone.key, **selection)
            rows = [((point.start.astimezone(zone).isoformat(),), point) for point in points]
        elif is_over_time:
            grouping = GROUPINGS[group]
            points = usage.series(connection, bucket=view.bucket, zone=zone.key, group_by=grouping, **selection)
            rows = [((point.start.astimezone(zone).isoformat(), point.group or ""), point) for point in points]
            names.append(group)
        else:
            parts = usage.breakdown(connection, by=GROUPINGS[group], **selection)
            named = own_keys.name_keys(connection, listed, parts) if group == "key" else None
            rows = [((part.group, named[part.group]) if named is not None else (part.group,), part) for part in parts]
            names += ["key_id", "key"] if named is not None else [group]
    kinds = sorted({kind for _, sums in rows for kind in sums.details})
    lines = [
        [
            *texts,
            *(getattr(sums, figure) for figure in _FIGURES),
            *(sums.details.get(kind, 0) for kind in kinds),
            usd(sums.cost_nanousd),
        ]
        for texts, sums in rows
    ]
    return view, [*names, *_FIGURES, *kinds, "cost_usd"], lines
