"""The usage page's tables as CSV and JSON: over time, by group, and by group over time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response, request

from keygauge_keyservice.csv_stream import usd
from keygauge_keyservice.database import Connection
from keygauge_keyservice.errors import Problem
from keygauge_keyservice.portal import auth, own_keys
from keygauge_keyservice.portal.usage_view import GROUPINGS, KIND, View, read_view, select
from keygauge_keyservice.texts import gettext
from keygauge_keyservice.usage import usage
from keygauge_keyservice.usage.sums import DetailedSums
from keygauge_keyservice.web import export
from keygauge_keyservice.web.context import services
from keygauge_keyservice.web.exact_json import exact_json

blueprint = Blueprint("usage_table", __name__)

_FIGURES = (
    *("requests", "limited", "client_errors", "server_errors", "input_tokens", "output_tokens"),
    *("cache_read_tokens", "cache_write_tokens", "reasoning_tokens", "average_duration_s"),
)
_TOGETHER = 1_000  # groups summed per statement


@dataclass(frozen=True)
class _Table:
    view: View
    names: Sequence[str]
    rows: Iterator[list[Any]]


@blueprint.get("/usage.csv")
def export_csv() -> Response:
    """Return one of the page's tables as CSV."""
    table = _table()
    shown = table.view.shown
    days = f"{shown.first_day:%Y%m%d}-{shown.last_day:%Y%m%d}"
    return export.as_csv(f"usage-{request.args.get('table', 'time')}-{days}", table.names, table.rows)


@blueprint.get("/usage.json")
def export_json() -> Response:
    """Return one of the page's tables as JSON."""
    table = _table()
    documents = [dict(zip(table.names, row, strict=True)) for row in table.rows]
    for document in documents:
        document |= {name: f"{value:f}" for name, value in document.items() if name.endswith("cost_usd")}
    return exact_json({"rows": documents})


def _table() -> _Table:
    table = request.args.get("table", "time")
    group, is_over_time = table.removesuffix("-time"), table == "time" or table.endswith("-time")
    with services().connection() as connection:
        view = read_view(connection, datetime.now(UTC))
        if table != "time" and (group not in view.groupings or (group == "tag" and not _shows_tags(view))):
            raise Problem(404, "table_not_found", gettext("Unknown table: %(table)s.", table=repr(table)))
        if view.shown.error:
            raise Problem(422, "bad_range", view.shown.error)
        if group == KIND:
            return _of_kinds(connection, view, is_over_time=is_over_time)
        totals = usage.totals(connection, **select(view))
        kinds, charged = sorted(totals.details), [kind for kind, use in totals.kinds.items() if use.cost_nanousd]
        if is_over_time:
            names, found = _over_time(connection, view, None if table == "time" else group)
        else:
            names, found = _by_group(connection, view, group)
    lines = ([*texts, *_figures(sums, kinds, charged)] for texts, sums in found)
    costs = [f"{kind}_cost_usd" for kind in charged]
    return _Table(view, [*names, *_FIGURES, *kinds, *costs, "cost_usd"], lines)


def _shows_tags(view: View) -> bool:
    return not view.filters.keys() & {"model", "route"}


def _of_kinds(connection: Connection, view: View, *, is_over_time: bool) -> _Table:
    """Return the counts and costs by kind of use, optionally per time bucket."""
    if is_over_time:
        names, found = _over_time(connection, view, None)
    else:
        names, found = [], iter([((), usage.totals(connection, **select(view)))])
    rows = (
        [*texts, kind, use.count, usd(use.cost_nanousd)] for texts, sums in found for kind, use in sums.kinds.items()
    )
    return _Table(view, [*names, KIND, "count", "cost_usd"], rows)


def _figures(sums: DetailedSums, kinds: Sequence[str], charged: Sequence[str]) -> list[Any]:
    figures = (getattr(sums, figure) for figure in _FIGURES)
    costs = (usd(sums.cost_of(kind)) for kind in charged)
    return [*figures, *(sums.details.get(kind, 0) for kind in kinds), *costs, usd(sums.cost_nanousd)]


def _over_time(
    connection: Connection, view: View, group: str | None
) -> tuple[list[str], Iterator[tuple[Sequence[str], DetailedSums]]]:
    zone, by = view.shown.zone, GROUPINGS[group] if group else ()
    points = usage.series(connection, bucket=view.bucket, zone=zone.key, group_by=by, **select(view))
    return [view.bucket, *([group] if group else [])], (
        ((point.start.astimezone(zone).isoformat(), *point.names), point) for point in points
    )


def _by_group(
    connection: Connection, view: View, group: str
) -> tuple[list[str], Iterator[tuple[Sequence[str], DetailedSums]]]:
    """Return the groups in order; they are summed in batches while the file is written."""
    ranked = usage.rank(connection, by=GROUPINGS[group], **select(view))
    account_id, is_of_keys = auth.current_account_id(), group == "key"

    def read() -> Iterator[tuple[Sequence[str], DetailedSums]]:
        for place in range(0, len(ranked), _TOGETHER):
            chosen = ranked[place : place + _TOGETHER]
            with connect() as reading:
                parts = usage.breakdown(reading, by=GROUPINGS[group], only=chosen, **selection)
                named = own_keys.names(reading, chosen, account_id=account_id) if is_of_keys else {}
            for part in parts:
                yield (part.group, named.get(part.group, part.group)) if is_of_keys else (part.group,), part

    connect, selection = services().connection, select(view)
    return ["key_id", "key"] if is_of_keys else [group], read()
