"""Usage totals, series and breakdowns from roll-ups and aggregates, as fast for millions of calls as for thousands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, NotRequired, TypeAlias, TypedDict, Unpack

import psycopg

from keygauge_keyservice.database import Connection
from keygauge_keyservice.errors import FieldError, Problem, format_field_error
from keygauge_keyservice.ledger.kinds import REFUSED
from keygauge_keyservice.ledger.rollup import BUCKET_S
from keygauge_keyservice.texts import gettext
from keygauge_keyservice.usage import buckets
from keygauge_keyservice.usage.buckets import Bucket
from keygauge_keyservice.usage.kind_counts import find_kinds
from keygauge_keyservice.usage.query import Grouping, Names, Question, Sums, find_sums, merge
from keygauge_keyservice.usage.ranking import Order, Ranking, find_ranking
from keygauge_keyservice.usage.sums import DetailedSums
from keygauge_keyservice.usage.time_cover import cut
from keygauge_keyservice.values import time_zone

GroupBy: TypeAlias = Grouping | Sequence[Grouping]
"""One or more dimensions."""

POINTS_MAX = 20_000
_GROUPS_MAX = 1_000_000  # in a file
RANGE_MAX = timedelta(days=3660)
_YEAR_MIN, _YEAR_MAX = 2000, 2999
_BUCKET_LENGTHS = {
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(weeks=1),
    "month": timedelta(days=28),
}


class UsageError(Problem):
    """An invalid usage query; the message names the field and what to change."""

    def __init__(self, field: str, detail: str, code: str = "wrong") -> None:
        super().__init__(422, "invalid", format_field_error(field, detail), errors=[FieldError(field, code, detail)])


class Selection(TypedDict):
    """A filter for calls of an account (None: all) from `start` until before `end`; the other fields narrow it further.

    The range is widened to whole quarters of an hour in UTC.
    """

    account_id: str | None
    start: datetime
    end: datetime
    key_id: NotRequired[str | None]
    route: NotRequired[str | None]
    model: NotRequired[str | None]
    tag: NotRequired[str | None]


@dataclass(frozen=True, kw_only=True)
class Totals(DetailedSums):
    """The sums over a range; `start` and `end` are the widened range."""

    start: datetime
    end: datetime

    @property
    def requests_per_minute(self) -> float:
        """The average over the whole range."""
        return self.requests / ((self.end - self.start) / timedelta(minutes=1))

    @property
    def tokens_per_minute(self) -> float:
        """The average over the whole range."""
        return self.tokens / ((self.end - self.start) / timedelta(minutes=1))


@dataclass(frozen=True, kw_only=True)
class Point(DetailedSums):
    """The sums of one time bucket and, if grouped, of one group; `start` may be before the range."""

    start: datetime
    names: Names = ()

    @property
    def group(self) -> str | None:
        """The group's name if there is exactly one dimension."""
        return self.names[0] if len(self.names) == 1 else None


@dataclass(frozen=True, kw_only=True)
class Part(DetailedSums):
    """The sums of one group; names are of accounts, keys, routes, models or tags ("" for none), or 2xx to 5xx."""

    names: Names

    @property
    def group(self) -> str:
        """The group's name in the first dimension, which is usually the only one."""
        return self.names[0]


@dataclass(frozen=True)
class Top:
    """The groups with the highest sums, in order, and the total number of groups."""

    parts: Sequence[Part]
    groups: int


def totals(connection: Connection, **selection: Unpack[Selection]) -> Totals:
    """Return the sums of all selected calls."""
    start, end = quarters(selection["start"], selection["end"])
    found = _add_up(connection, selection, [(start, end)], group_by=())
    sums = found.get((0, ()))
    if sums is None:
        return Totals(start=start, end=end)
    return Totals.from_row(sums, start=start, end=end, **_details(sums))


def cost(connection: Connection, **selection: Unpack[Selection]) -> int:
    """Return the cost of all selected calls in nano-USD."""
    span = quarters(selection["start"], selection["end"])
    sums = _add_up(connection, selection, [span], group_by=(), has_kinds=False).get((0, ()))
    return 0 if sums is None else sums["cost_nanousd"]


def breakdown(
    connection: Connection,
    *,
    by: GroupBy,
    only: Sequence[str] | None = None,
    **selection: Unpack[Selection],
) -> list[Part]:
    """Return the sums of the selected calls by group, those with the most calls first.

    `only` keeps these groups of the first dimension.

    Raises:
        UsageError: there are too many groups.
    """
    span = quarters(selection["start"], selection["end"])
    found = _add_up(connection, selection, [span], group_by=_dimensions(by), only=only)
    if len(found) > POINTS_MAX:
        raise UsageError(
            "group_by",
            gettext(
                "%(number)s groups are more than %(most)s: use more filters or fewer dimensions",
                number=len(found),
                most=POINTS_MAX,
            ),
        )
    parts = [Part.from_row(sums, names=names, **_details(sums)) for (_, names), sums in found.items()]
    return sorted(parts, key=lambda part: (-part.requests, part.names))


def top(
    connection: Connection,
    *,
    by: Grouping,
    most: int,
    order: Order = "requests",
    least: int = 0,
    **selection: Unpack[Selection],
) -> Top:
    """Return the `most` groups with the highest sums; fast even with very many groups.

    Groups with less than `least` are left out and not counted.
    """
    found = _rank(connection, selection, by, order=order, most=most, least=least)
    parts = {part.group: part for part in breakdown(connection, by=by, only=found.names, **selection)}
    return Top([parts[name] for name in found.names if name in parts], found.groups)


def rank(connection: Connection, *, by: Grouping, **selection: Unpack[Selection]) -> Sequence[str]:
    """Return the names of all groups, those with the most calls first; for files, which contain all groups."""
    return _rank(connection, selection, by, most=_GROUPS_MAX).names


def series(
    connection: Connection,
    *,
    bucket: Bucket,
    zone: str = "UTC",
    group_by: GroupBy = (),
    only: Sequence[str] | None = None,
    **selection: Unpack[Selection],
) -> list[Point]:
    """Return the sums of the selected calls by bucket of local time and group.

    There is a point for each pair, even if empty. `only` keeps these groups of the first dimension.

    Raises:
        UsageError: there is no such time zone, or there would be too many points.
    """
    start, end = quarters(selection["start"], selection["end"])
    _bound_points(start, end, bucket, groups=1)
    local = time_zone.parse(zone)
    if local is None:
        detail = gettext(
            "unknown time zone %(zone)s: use an IANA name such as Europe/Berlin, or an offset such as +03:00",
            zone=repr(zone),
        )
        raise UsageError("zone", detail, "wrong_zone")
    starts = buckets.starts(start, end, bucket, local)
    edges = [start, *starts[1:], end]
    found = _add_up(connection, selection, list(pairwise(edges)), group_by=_dimensions(group_by), only=only)
    groups: Sequence[Names] = sorted({names for _, names in found}) if group_by else [()]
    _bound_points(start, end, bucket, groups=len(groups))
    return [
        Point.from_row(sums, start=first, names=names, **_details(sums))
        if (sums := found.get((number, names)))
        else Point(start=first, names=names)
        for number, first in enumerate(starts)
        for names in groups
    ]


def quarters(start: datetime, end: datetime) -> tuple[datetime, datetime]:
    """Widen a range to whole quarters of an hour in UTC.

    Raises:
        UsageError: a time has no offset, or the range is empty or too long.
    """
    if start.tzinfo is None or end.tzinfo is None:
        raise UsageError("from", gettext("both ends of the range need a UTC offset"))
    if start >= end:
        raise UsageError("to", gettext("the range is empty: its end must be after its start"))
    if end - start > RANGE_MAX or not _YEAR_MIN <= start.year <= end.year <= _YEAR_MAX:
        raise UsageError(
            "from",
            gettext(
                "the range can be at most %(days)s days, between %(first)s and %(last)s",
                days=RANGE_MAX.days,
                first=_YEAR_MIN,
                last=_YEAR_MAX,
            ),
        )
    first, last = int(start.timestamp() // BUCKET_S), -int(-end.timestamp() // BUCKET_S)
    return datetime.fromtimestamp(first * BUCKET_S, UTC), datetime.fromtimestamp(last * BUCKET_S, UTC)


def _details(sums: Sums) -> dict[str, Any]:
    details = dict(sums.get("details", {}))
    return {"refused": details.pop(REFUSED, 0), "details": details}


def _dimensions(group_by: GroupBy) -> tuple[Grouping, ...]:
    return (group_by,) if isinstance(group_by, str) else tuple(group_by)


def _add_up(
    connection: Connection,
    selection: Selection,
    spans: Sequence[tuple[datetime, datetime]],
    *,
    group_by: tuple[Grouping, ...],
    only: Sequence[str] | None = None,
    has_kinds: bool = True,
) -> dict[tuple[int, Names], Sums]:
    """Return the sums by span (its index) and group, without groups that have no calls in a span."""
    question = _question(connection, selection, group_by, only)
    time_covers = [
        (number, time_cover) for number, span in enumerate(spans) for time_cover in cut(*span, question.lengths_s)
    ]
    found: dict[tuple[int, Names], Sums] = {}
    with _bounded():
        for number, names, sums in find_sums(connection, question, time_covers):
            if (number, names) in found:
                merge(found[number, names], sums)
            else:
                found[number, names] = sums
    found = {pair: sums for pair, sums in found.items() if sums["requests"]}
    has_kinds = has_kinds and bool(found) and not question.is_by_tag
    for pair, details in (find_kinds(connection, question, spans) if has_kinds else {}).items():
        if pair in found:
            found[pair]["details"] = details
    return found


def _rank(
    connection: Connection, selection: Selection, by: Grouping, *, most: int, order: Order = "requests", least: int = 0
) -> Ranking:
    start, end = quarters(selection["start"], selection["end"])
    question = _question(connection, selection, (by,))
    with _bounded():
        return find_ranking(
            connection, question, cut(start, end, question.lengths_s), order=order, most=most, least=least
        )


def _question(
    connection: Connection, selection: Selection, group_by: tuple[Grouping, ...], only: Sequence[str] | None = None
) -> Question:
    account_id, key_id = selection["account_id"], selection.get("key_id")
    if account_id is None and key_id is not None:  # sums are indexed by account
        account_id = _account_of(connection, key_id)
    question = Question(
        account_id=account_id,
        key=key_id,
        route=selection.get("route"),
        model=selection.get("model"),
        group_by=group_by,
        only=None if only is None else tuple(only),
        tag=selection.get("tag"),
    )
    if question.is_by_tag and {*question.filters, *group_by} & {"route", "model", "status"}:
        raise UsageError(
            "tag", gettext("usage by tag can be grouped by account and key only: leave out route, model and status")
        )
    return question


def _account_of(connection: Connection, key_id: str) -> str | None:
    row = connection.execute("/* usage.account */ SELECT account_id FROM key WHERE id = %s", (key_id,)).fetchone()
    return row["account_id"] if row else None


@contextmanager
def _bounded() -> Iterator[None]:
    """Convert a query timeout into an error that suggests a smaller query."""
    try:
        yield
    except psycopg.errors.QueryCanceled as error:
        raise UsageError(
            "from", gettext("this query takes too long: use a shorter range, more filters or fewer dimensions")
        ) from error


def _bound_points(start: datetime, end: datetime, bucket: Bucket, *, groups: int) -> None:
    points = ((end - start) / _BUCKET_LENGTHS[bucket] + 2) * groups
    if points > POINTS_MAX:
        raise UsageError(
            "bucket",
            gettext(
                "%(number)s points are more than %(most)s: use a shorter range or longer buckets",
                number=round(points),
                most=POINTS_MAX,
            ),
        )
