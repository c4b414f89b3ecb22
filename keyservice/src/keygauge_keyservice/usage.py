"""Usage over time, by group and in total, from the roll-ups only: as fast for millions of calls as for thousands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NotRequired, TypeAlias, TypedDict, Unpack

import psycopg
from psycopg import sql

from keygauge_keyservice.database import Connection
from keygauge_keyservice.rollup import BUCKET_S, DURATION_COUNTS
from keygauge_keyservice.tally import Tally

Bucket: TypeAlias = Literal["hour", "day", "week", "month"]
Grouping: TypeAlias = Literal["account", "key", "route", "model", "status"]

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


_SUMS = sql.SQL(
    """
    coalesce(sum(requests), 0)::bigint AS requests,
    coalesce(sum(limited), 0)::bigint AS limited,
    coalesce(sum(requests - limited) FILTER (WHERE status_class = 4), 0)::bigint AS client_errors,
    coalesce(sum(requests) FILTER (WHERE status_class = 5), 0)::bigint AS server_errors,
    coalesce(sum(input_tokens), 0)::bigint AS input_tokens,
    coalesce(sum(output_tokens), 0)::bigint AS output_tokens,
    coalesce(sum(cache_read_tokens), 0)::bigint AS cache_read_tokens,
    coalesce(sum(cache_write_tokens), 0)::bigint AS cache_write_tokens,
    coalesce(sum(reasoning_tokens), 0)::bigint AS reasoning_tokens,
    coalesce(sum(request_bytes), 0)::bigint AS request_bytes,
    coalesce(sum(response_bytes), 0)::bigint AS response_bytes,
    coalesce(sum(cost_nanousd), 0)::bigint AS cost_nanousd,
    coalesce(sum(duration_us), 0)::bigint AS duration_us,
    ARRAY[{counts}]::bigint[] AS duration_counts
    """
).format(
    counts=sql.SQL(", ").join(
        sql.SQL("coalesce(sum(duration_counts[{}]), 0)").format(sql.Literal(number + 1))
        for number in range(DURATION_COUNTS)
    )
)
_SELECTED = sql.SQL(
    """
    FROM rollup
    WHERE (%(account_id)s::text IS NULL OR account_id = %(account_id)s)
    AND (%(key_id)s::text IS NULL OR key_id = %(key_id)s)
    AND (%(route)s::text IS NULL OR route = %(route)s)
    AND (%(model)s::text IS NULL OR model = %(model)s)
    """
)
_GROUPS = {
    "account": sql.SQL("account_id"),
    "key": sql.SQL("key_id"),
    "route": sql.SQL("route"),
    "model": sql.SQL("model"),
    "status": sql.SQL("status_class || 'xx'"),
}
_IN_RANGE = sql.SQL("AND bucket >= %(start)s AND bucket < %(end)s")
_TOTALS = sql.SQL("/* usage.totals */ SELECT {sums} {selected} {in_range}").format(
    sums=_SUMS, selected=_SELECTED, in_range=_IN_RANGE
)
_BREAKDOWN = sql.SQL(
    "/* usage.breakdown */ SELECT {group} AS name, {sums} {selected} {in_range} GROUP BY 1 ORDER BY requests DESC, name"
)
# A range of the index for each bucket: grouping by a truncated time would sort all rows on disk.
_SERIES = sql.SQL(
    """/* usage.series */
    SELECT span.start, part.*
    FROM unnest(%(starts)s::timestamptz[], %(firsts)s::timestamptz[], %(lasts)s::timestamptz[])
        AS span (start, first, last)
    CROSS JOIN LATERAL (
        SELECT {group} AS name, {sums} {selected} AND bucket >= span.first AND bucket < span.last GROUP BY 1
    ) AS part"""
)
_STARTS = """/* usage.starts */
SELECT DISTINCT date_trunc(%(bucket)s, moment, %(zone)s) AS start
FROM generate_series(%(start)s, %(end)s - interval '1 microsecond', %(step)s) AS moment
UNION SELECT date_trunc(%(bucket)s, %(end)s - interval '15 minutes', %(zone)s)
ORDER BY start"""


def totals(connection: Connection, **selection: Unpack[Selection]) -> Totals:
    """Add up all selected calls."""
    values = _parameters(selection)
    row = connection.execute(_TOTALS, values, prepare=False).fetchone()
    return Totals.from_row(row or {}, start=values["start"], end=values["end"])


def breakdown(connection: Connection, *, by: Grouping, **selection: Unpack[Selection]) -> list[Part]:
    """Add up the selected calls by group, those with the most calls first."""
    query = _BREAKDOWN.format(group=_GROUPS[by], sums=_SUMS, selected=_SELECTED, in_range=_IN_RANGE)
    rows = connection.execute(query, _parameters(selection), prepare=False)
    return [Part.from_row(row, group=row["name"]) for row in rows]


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
    values = {**_parameters(selection), "bucket": bucket, "zone": zone, "step": _STEPS.get(bucket, _STEP)}
    _bound_points(values["start"], values["end"], bucket, groups=1)
    group = _GROUPS[group_by] if group_by else sql.SQL("NULL::text")
    query = _SERIES.format(group=group, sums=_SUMS, selected=_SELECTED)
    try:
        starts = [row["start"] for row in connection.execute(_STARTS, values, prepare=False)]
        edges = [values["start"], *starts[1:], values["end"]]
        values |= {"starts": starts, "firsts": edges[:-1], "lasts": edges[1:]}
        found = {(row["start"], row["name"]): row for row in connection.execute(query, values, prepare=False)}
    except psycopg.errors.InvalidParameterValue as error:
        raise UsageError(f"zone: there is no time zone {zone!r}; give an IANA name such as Europe/Berlin") from error
    groups: Sequence[str | None] = sorted({name for _, name in found}) if group_by else [None]
    _bound_points(values["start"], values["end"], bucket, groups=len(groups))
    pairs = [(start, name) for start in starts for name in groups]
    return [
        Point.from_row(found[pair], start=pair[0], group=pair[1])
        if pair in found
        else Point(start=pair[0], group=pair[1])
        for pair in pairs
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


def _parameters(selection: Selection) -> dict[str, Any]:
    start, end = quarters(selection["start"], selection["end"])
    return {"key_id": None, "route": None, "model": None, **selection, "start": start, "end": end}


def _bound_points(start: datetime, end: datetime, bucket: Bucket, *, groups: int) -> None:
    points = ((end - start) / _BUCKET_LENGTHS[bucket] + 2) * groups
    if points > POINTS_MAX:
        raise UsageError(
            f"that is about {points:.0f} points, more than {POINTS_MAX}: give a shorter range or longer buckets"
        )
