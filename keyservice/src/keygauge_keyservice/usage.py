"""Usage over time, by group and in total, from the roll-ups only: as fast for millions of calls as for thousands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Literal, NotRequired, TypeAlias, TypedDict, Unpack

import psycopg

from keygauge_keyservice.database import Connection
from keygauge_keyservice.rollup import BUCKET_S
from keygauge_keyservice.stretch import cut
from keygauge_keyservice.tally import Tally
from keygauge_keyservice.usage_query import Grouping, Question, Sums, find_sums, merge

Bucket: TypeAlias = Literal["hour", "day", "week", "month"]

POINTS_MAX = 20_000
RANGE_MAX = timedelta(days=3660)
_YEAR_MIN, _YEAR_MAX = 2000, 2999
_BUCKET_LENGTHS = {
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(weeks=1),
    "month": timedelta(days=28),
}
# Day and longer buckets begin on a whole quarter of an hour in every zone; a step of an hour finds each of them.
_STEPS = {"hour": timedelta(seconds=BUCKET_S)}
_STEP = timedelta(hours=1)


class UsageError(ValueError):
    """A question that usage cannot answer; the message says what to change."""


class Selection(TypedDict):
    """Which calls: those of an account (None: of all) from `start`, before `end`; the rest narrows them further.

    A range that does not fall on quarters of an hour (UTC) is widened to them.
    """

    account_id: str | None
    start: datetime
    end: datetime
    key_id: NotRequired[str | None]
    route: NotRequired[str | None]
    model: NotRequired[str | None]


@dataclass(frozen=True, kw_only=True)
class Totals(Tally):
    """The sums over a range; `start` and `end` are the range used."""

    start: datetime
    end: datetime

    @property
    def requests_per_minute(self) -> float:
        """Average over the whole range, calm hours included."""
        return self.requests / ((self.end - self.start) / timedelta(minutes=1))

    @property
    def tokens_per_minute(self) -> float:
        """Average over the whole range, calm hours included."""
        return self.tokens / ((self.end - self.start) / timedelta(minutes=1))


@dataclass(frozen=True, kw_only=True)
class Point(Tally):
    """The sums of one bucket of time, and of one group where they are asked for; `start` may lie before the range."""

    start: datetime
    group: str | None = None


@dataclass(frozen=True, kw_only=True)
class Part(Tally):
    """The sums of one group: the name of an account, key, route or model ("" for none), or 2xx to 5xx."""

    group: str


_STARTS = """/* usage.starts */
SELECT DISTINCT date_trunc(%(bucket)s, moment, %(zone)s) AS start
FROM generate_series(%(start)s, %(end)s - interval '1 microsecond', %(step)s) AS moment
UNION SELECT date_trunc(%(bucket)s, %(end)s - interval '15 minutes', %(zone)s)
ORDER BY start"""


def totals(connection: Connection, **selection: Unpack[Selection]) -> Totals:
    """Add up all selected calls."""
    start, end = quarters(selection["start"], selection["end"])
    found = _add_up(connection, selection, [(start, end)], group_by=None)
    return Totals.from_row(found.get((0, None)) or vars(Tally()), start=start, end=end)


def breakdown(connection: Connection, *, by: Grouping, **selection: Unpack[Selection]) -> list[Part]:
    """Add up the selected calls by group, those with the most calls first."""
    span = quarters(selection["start"], selection["end"])
    found = _add_up(connection, selection, [span], group_by=by)
    parts = [Part.from_row(sums, group=str(name)) for (_, name), sums in found.items()]
    return sorted(parts, key=lambda part: (-part.requests, part.group))


def series(
    connection: Connection,
    *,
    bucket: Bucket,
    zone: str = "UTC",
    group_by: Grouping | None = None,
    **selection: Unpack[Selection],
) -> list[Point]:
    """Add up the selected calls by bucket of local time, and by group: one point for each pair, empty ones too.

    Raises:
        UsageError: there is no such time zone, or the points would be too many.
    """
    start, end = quarters(selection["start"], selection["end"])
    _bound_points(start, end, bucket, groups=1)
    starts = _find_starts(connection, start, end, bucket, zone)
    edges = [start, *starts[1:], end]
    found = _add_up(connection, selection, list(pairwise(edges)), group_by=group_by)
    groups: Sequence[str | None] = sorted({str(name) for _, name in found}) if group_by else [None]
    _bound_points(start, end, bucket, groups=len(groups))
    return [
        Point.from_row(found[number, name], start=first, group=name)
        if (number, name) in found
        else Point(start=first, group=name)
        for number, first in enumerate(starts)
        for name in groups
    ]


def quarters(start: datetime, end: datetime) -> tuple[datetime, datetime]:
    """Widen a range to whole quarters of an hour in UTC.

    Raises:
        UsageError: a time has no offset, or the range is empty.
    """
    if start.tzinfo is None or end.tzinfo is None:
        raise UsageError("give both ends of the range with their offsets from UTC")
    if start >= end:
        raise UsageError("the range is empty: let it end after its start")
    if end - start > RANGE_MAX or not _YEAR_MIN <= start.year <= end.year <= _YEAR_MAX:
        raise UsageError(f"give a range of at most {RANGE_MAX.days} days between {_YEAR_MIN} and {_YEAR_MAX}")
    first, last = int(start.timestamp() // BUCKET_S), -int(-end.timestamp() // BUCKET_S)
    return datetime.fromtimestamp(first * BUCKET_S, UTC), datetime.fromtimestamp(last * BUCKET_S, UTC)


def _add_up(
    connection: Connection,
    selection: Selection,
    spans: Sequence[tuple[datetime, datetime]],
    *,
    group_by: Grouping | None,
) -> dict[tuple[int, str | None], Sums]:
    """Return the sums by span (its index) and group; a group without a call in a span is left out."""
    question = Question(
        account_id=selection["account_id"],
        key=selection.get("key_id"),
        route=selection.get("route"),
        model=selection.get("model"),
        group_by=group_by,
    )
    pieces = [(number, piece) for number, span in enumerate(spans) for piece in cut(*span, question.lengths_s)]
    found: dict[tuple[int, str | None], Sums] = {}
    for index, name, sums in find_sums(connection, question, [piece for _, piece in pieces]):
        number, piece = pieces[index]
        if (number, name) in found:
            merge(found[number, name], sums, piece.sign)
        elif piece.sign > 0:
            found[number, name] = sums
        else:
            merge(found.setdefault((number, name), dict(vars(Tally()))), sums, piece.sign)
    return {pair: sums for pair, sums in found.items() if sums["requests"]}


def _find_starts(connection: Connection, start: datetime, end: datetime, bucket: Bucket, zone: str) -> list[datetime]:
    values = {"start": start, "end": end, "bucket": bucket, "zone": zone, "step": _STEPS.get(bucket, _STEP)}
    try:
        return [row["start"] for row in connection.execute(_STARTS, values, prepare=False)]
    except psycopg.errors.InvalidParameterValue as error:
        raise UsageError(f"zone: there is no time zone {zone!r}; give an IANA name such as Europe/Berlin") from error


def _bound_points(start: datetime, end: datetime, bucket: Bucket, *, groups: int) -> None:
    points = ((end - start) / _BUCKET_LENGTHS[bucket] + 2) * groups
    if points > POINTS_MAX:
        raise UsageError(
            f"that is about {points:.0f} points, more than {POINTS_MAX}: give a shorter range or longer buckets"
        )
