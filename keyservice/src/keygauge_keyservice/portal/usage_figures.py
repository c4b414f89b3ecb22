"""The data of a usage view: totals, groups and points over time, and the same for the previous period."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from keygauge.tag import OTHER
from keygauge_keyservice.database import Connection
from keygauge_keyservice.portal import own_keys, unpriced
from keygauge_keyservice.portal.usage_view import GROUPINGS, KIND, NOUNS, View, select
from keygauge_keyservice.texts import gettext
from keygauge_keyservice.usage import usage
from keygauge_keyservice.usage.ranking import Order
from keygauge_keyservice.usage.sums import UsageSums
from keygauge_keyservice.usage.usage import Part, Point, Selection, Top, Totals

CHARTED_MAX = 5  # groups with their own colour
_ROWS_MAX = 20  # rows of the breakdown; exports have all
_ORDERS: Mapping[str, Order] = {"tokens": "tokens", "cost": "cost", "credits": "cost"}  # order of groups by metric
_FILTER_OF = {"key": "key", "model": "model", "endpoint": "route", "tag": "tag"}
_NEXT = {"key": "model", "model": "key", "endpoint": "key", "tag": "key"}  # grouping of the view that a group links to


@dataclass(frozen=True)
class Row:
    """A group of the breakdown, the same group in the previous period, and the URL of its own view."""

    group: str
    name: str
    sums: UsageSums
    before: UsageSums
    address: str | None
    tone: str
    is_unpriced: bool  # cost nothing because there is no price


@dataclass(frozen=True)
class Figures:
    """The data of a view; `by` is the breakdown's grouping, `charted` are the groups shown separately in the chart."""

    by: str
    totals: Totals
    earlier: Totals
    rows: Sequence[Row]
    rows_beyond: int
    unpriced: Sequence[str]  # names of the models without a price
    points: Sequence[Point]
    charted: Sequence[Row]
    charted_points: Sequence[Point]


def read(connection: Connection, view: View, now: datetime) -> Figures:
    """Return the data of a view."""
    selection = select(view)
    previous, before = view.shown.previous(now=now), selection.copy()
    before["start"], before["end"] = previous.start, previous.end
    by = view.group if view.group != "none" else next(iter(view.groupings))
    totals = usage.totals(connection, **selection)
    top = _find_top(connection, view, by, selection)
    models = _find_unpriced(connection, by, totals, top.parts, selection)
    rows = _rows(connection, view, by, top.parts, models=models, before=before)
    charted = rows[:CHARTED_MAX] if view.group != "none" and totals.requests else []
    series = partial(usage.series, connection, bucket=view.bucket, zone=view.shown.zone.key, **selection)
    return Figures(
        by=by,
        totals=totals,
        earlier=usage.totals(connection, **before),
        rows=rows,
        rows_beyond=top.groups - len(rows),
        unpriced=[model or gettext("no model") for model in models],
        points=series() if totals.requests else [],
        charted=charted,
        charted_points=series(group_by=GROUPINGS[by], only=[row.group for row in charted]) if charted else [],
    )


def _find_top(connection: Connection, view: View, by: str, selection: Selection) -> Top:
    if by == KIND:
        return Top((), 0)
    order = _ORDERS.get(view.metric, "requests")
    return usage.top(connection, by=GROUPINGS[by], most=_ROWS_MAX, order=order, **selection)


def _find_unpriced(
    connection: Connection, by: str, totals: Totals, parts: Sequence[Part], selection: Selection
) -> list[str]:
    if by == "model":
        return unpriced.among(connection, selection["account_id"], parts)
    free = next((sums for sums in (totals, *parts) if unpriced.is_free(sums)), UsageSums())
    return unpriced.find(connection, free, **selection)


def _rows(
    connection: Connection, view: View, by: str, parts: Sequence[Part], *, models: Sequence[str], before: Selection
) -> list[Row]:
    if not parts:
        return []
    groups = [part.group for part in parts]
    earlier = {part.group: part for part in usage.breakdown(connection, by=GROUPINGS[by], only=groups, **before)}
    names = own_keys.names(connection, groups) if by == "key" else {OTHER: gettext("Other tags")} if by == "tag" else {}
    return [
        Row(
            group=part.group,
            name=names.get(part.group) or part.group or gettext("No %(group)s", group=gettext(NOUNS[by])),
            sums=part,
            before=earlier.get(part.group, UsageSums()),
            address=_address(view, by, part.group),
            tone=f"tone-{rank}" if rank <= CHARTED_MAX else "tone-other",
            is_unpriced=part.group in models if by == "model" else bool(models) and unpriced.is_free(part),
        )
        for rank, part in enumerate(parts, 1)
    ]


def _address(view: View, by: str, group: str) -> str | None:
    if by not in _NEXT or group in {"", OTHER}:
        return None
    return view.address(**{_FILTER_OF[by]: group, "group": _NEXT[by]})
