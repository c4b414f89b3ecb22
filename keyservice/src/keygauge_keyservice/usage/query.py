"""The usage queries: sums over time covers, from usage aggregates if possible, otherwise from roll-ups."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Literal, TypeAlias

from psycopg import sql

from keygauge_keyservice.database import Connection
from keygauge_keyservice.ledger import tags
from keygauge_keyservice.ledger.aggregate import ALL_SUMS, DAY_S, DIMENSIONS, LENGTHS_S, NUMBERS, SUMS, has_length
from keygauge_keyservice.ledger.rollup import BUCKET_S, PACKED_S
from keygauge_keyservice.usage.time_cover import TimeCover

Grouping: TypeAlias = Literal["account", "key", "route", "model", "status", "tag"]
Source: TypeAlias = Literal["usage_aggregate", "rollup", "usage_tag"]
Names: TypeAlias = tuple[str, ...]
"""A group: a name (account, key, route, model, status class or tag) per requested dimension."""
Sums: TypeAlias = dict[str, Any]
"""The columns of a usage sum by name."""

_PAIR = 2  # the maximum number of dimensions of a usage aggregate

_FILTERS = ("key", "route", "model")
_STATUS = "status"  # the breakdown with the fewest rows, used for totals
COLUMNS = {
    "account": sql.SQL("account_id"),
    "key": sql.SQL("key_id"),
    "route": sql.SQL("route"),
    "model": sql.SQL("model"),
    "status": sql.SQL("status_class || 'xx'"),
    "tag": sql.SQL("tag"),
}
_NUMBERS = [sql.SQL("sum(sign * {0}) AS {0}").format(sql.Identifier(name)) for name in NUMBERS]
_AGGREGATE_SUMS = sql.SQL(", ").join(
    [sql.SQL("sum(sign * {0})::bigint AS {0}").format(sql.Identifier(name)) for name in SUMS] + _NUMBERS
)
_ERRORS = {
    "client_errors": sql.SQL("sum(sign * CASE status_class WHEN 4 THEN requests - limited ELSE 0 END)::bigint"),
    "server_errors": sql.SQL("sum(sign * CASE status_class WHEN 5 THEN requests ELSE 0 END)::bigint"),
}
_ROLLUP_SUMS = sql.SQL(", ").join(
    [
        sql.SQL("{} AS {}").format(
            _ERRORS.get(name, sql.SQL("sum(sign * {})::bigint").format(sql.Identifier(name))), sql.Identifier(name)
        )
        for name in SUMS
    ]
    + _NUMBERS
)
# Each bucket is found by an index, and its start determines its span. A join on ranges would read all buckets for each
# range, and Citus does not support a LATERAL join per span.
_QUERY = sql.SQL(
    """/* {title} */
    SELECT span AS number, ARRAY[{names}]::text[] AS names, {sums}
    FROM unnest(%(spans)s::integer[], %(firsts)s::timestamptz[], %(lengths)s::integer[], %(signs)s::integer[])
        AS part_of (span, first, part_length_s, sign)
    JOIN {table} ON {same_bucket}
    WHERE (%(account_id)s::text IS NULL OR account_id = %(account_id)s) AND {when} AND {selected}
    GROUP BY 1, 2"""
)
_IN_ROW = sql.SQL("bucket >= %(start)s AND bucket <= %(end)s")
_APART = sql.SQL("bucket = ANY(%(moments)s::timestamptz[])")
_FROM_AGGREGATE = sql.SQL(
    "length_s = ANY(%(all_lengths)s::integer[]) AND breakdown = %(breakdown)s "
    "AND (%(inside)s::text IS NULL OR inside = %(inside)s)"
)
_SAME_AGGREGATE = sql.SQL("bucket = first AND length_s = part_length_s")
_SAME_ROLLUP = sql.SQL("bucket = first")
_TOGETHER = 400  # buckets of different lengths per statement; more are read faster with one statement per length
_FROM_ROLLUP = sql.SQL(
    "half_day = ANY(%(half_days)s::timestamptz[]) AND (%(key)s::text IS NULL OR key_id = %(key)s) "
    "AND (%(route)s::text IS NULL OR route = %(route)s) "
    "AND (%(model)s::text IS NULL OR model = %(model)s)"
)
_FROM_TAG = sql.SQL(
    "length_s = ANY(%(all_lengths)s::integer[]) AND (%(key)s::text IS NULL OR key_id = %(key)s) "
    "AND (%(tag)s::text IS NULL OR tag = %(tag)s)"
)
_TITLES: dict[Source, sql.SQL] = {
    "usage_aggregate": sql.SQL("usage.usage_aggregates"),
    "rollup": sql.SQL("usage.rollups"),
    "usage_tag": sql.SQL("usage.usage_tags"),
}
SOURCES: dict[Source, sql.SQL] = {"usage_aggregate": _FROM_AGGREGATE, "rollup": _FROM_ROLLUP, "usage_tag": _FROM_TAG}


@dataclass(frozen=True, kw_only=True)
class Question:
    """A usage query: an account (None: all), filters, and the dimensions to group by.

    `only` keeps these groups of the first dimension.
    """

    account_id: str | None
    key: str | None
    route: str | None
    model: str | None
    group_by: tuple[Grouping, ...]
    only: tuple[str, ...] | None = None
    tag: str | None = None

    @cached_property
    def filters(self) -> dict[str, str]:
        """The filtered dimensions and their values."""
        return {name: value for name in _FILTERS if (value := getattr(self, name)) is not None}

    @cached_property
    def cut(self) -> tuple[str | None, str] | None:
        """The breakdown that answers this query: the second dimension within the first; None if there is none."""
        parts = [name for name in DIMENSIONS if name in self.group_by and name not in self.filters]
        names = [*self.filters, *parts]
        if len(self.filters) > 1 or len(names) > _PAIR:
            return None
        if len(names) == _PAIR:
            return names[0], names[1]
        return (names[0], _STATUS) if self.filters else (None, names[0] if names else _STATUS)

    @property
    def is_by_tag(self) -> bool:
        """Whether the sums by tag answer this query; besides tags, they have only accounts and keys."""
        return self.tag is not None or "tag" in self.group_by

    @cached_property
    def untagged(self) -> Question | None:
        """The query for all calls, from which tagged calls are subtracted; None if untagged calls are not a group."""
        if "tag" not in self.group_by or self.tag is not None:
            return None
        only = self.only
        if self.group_by[0] == "tag":
            if only is not None and "" not in only:
                return None
            only = None
        return replace(self, group_by=tuple(name for name in self.group_by if name != "tag"), only=only)

    def name_untagged(self, names: Names) -> Names:
        """Return the names of a group of calls without a tag."""
        place = self.group_by.index("tag")
        return (*names[:place], "", *names[place:])

    @property
    def lengths_s(self) -> tuple[int, ...]:
        """The lengths of the buckets to use: those of usage aggregates or sums by tag, or else of roll-ups."""
        if self.is_by_tag:
            lengths_s = self.untagged.lengths_s if self.untagged else LENGTHS_S
            return tuple(length_s for length_s in tags.LENGTHS_S if length_s in lengths_s)
        if self.cut is None:
            return (BUCKET_S,)
        if self.cut[0] is None:
            return LENGTHS_S
        return (DAY_S, BUCKET_S) if self.account_id is not None else (BUCKET_S,)

    def source_of(self, time_cover: TimeCover) -> Source:
        """Return the table to query; aggregates by one dimension exist in most lengths, by two only per day."""
        if self.is_by_tag:
            return "usage_tag"
        if self.cut is None:
            return "rollup"
        inside, part = self.cut
        is_held = has_length(part, time_cover.length_s) if inside is None else time_cover.length_s == DAY_S
        return "usage_aggregate" if is_held else "rollup"


@dataclass(frozen=True)
class Buckets:
    """The buckets of time covers, as (span, start in unix seconds, length, sign)."""

    rows: Sequence[tuple[int, int, int, int]]

    @property
    def lengths_s(self) -> set[int]:
        """The lengths of the buckets."""
        return {length_s for _, _, length_s, _ in self.rows}

    @cached_property
    def moments(self) -> list[datetime]:
        """The start times in order."""
        return [_to_datetime(first_s) for first_s in sorted({first_s for _, first_s, _, _ in self.rows})]

    @property
    def half_days(self) -> list[datetime]:
        """The UTC half days that contain the buckets, by which roll-ups are indexed."""
        return [
            _to_datetime(first_s)
            for first_s in sorted({first_s - first_s % PACKED_S for _, first_s, _, _ in self.rows})
        ]

    @property
    def are_in_row(self) -> bool:
        """Whether the buckets have one length and no gaps."""
        lengths_s, moments = self.lengths_s, self.moments
        if len(lengths_s) > 1:
            return False
        return moments[-1] - moments[0] == timedelta(seconds=min(lengths_s)) * (len(moments) - 1)

    def by_length(self) -> list[Buckets]:
        """Split the buckets into one part per statement: all together, or one part per length."""
        if len(self.rows) <= _TOGETHER:
            return [self] if self.rows else []
        return [Buckets([row for row in self.rows if row[2] == length_s]) for length_s in sorted(self.lengths_s)]


def find_sums(
    connection: Connection, question: Question, time_covers: Sequence[tuple[int, TimeCover]]
) -> Iterator[tuple[int, Names, Sums]]:
    """Yield sums by span (its number in `time_covers`) and group; the same pair may be yielded more than once.

    Calls without a tag are all calls minus those with one; reading in this order ensures that they are never negative.
    """
    if question.untagged is not None:
        for number, names, sums in _find_in(connection, question.untagged, "usage_tag", time_covers):
            yield number, question.name_untagged(names), negative(sums)
        for number, names, sums in find_sums(connection, question.untagged, time_covers):
            yield number, question.name_untagged(names), sums
    for source in SOURCES:
        part = [item for item in time_covers if question.source_of(item[1]) == source]
        yield from _find_in(connection, question, source, part)


def _find_in(
    connection: Connection, question: Question, source: Source, part: Sequence[tuple[int, TimeCover]]
) -> Iterator[tuple[int, Names, Sums]]:
    for buckets in buckets_of(part).by_length():
        query = _write(question, source, _IN_ROW if buckets.are_in_row and not question.key else _APART)
        for row in connection.execute(query, parameters_of(question) | bucket_parameters(buckets), prepare=False):
            row |= {name: int(row[name]) for name in NUMBERS}
            yield row.pop("number"), tuple(row.pop("names")), row


def buckets_of(part: Sequence[tuple[int, TimeCover]]) -> Buckets:
    """Return the buckets of numbered time covers."""
    return Buckets(
        [
            (number, first_s, time_cover.length_s, time_cover.sign)
            for number, time_cover in part
            for first_s in range(time_cover.first_s, time_cover.last_s, time_cover.length_s)
        ]
    )


def _to_datetime(time_s: int) -> datetime:
    return datetime.fromtimestamp(time_s, UTC)


def merge(sums: Sums, other: Mapping[str, Any]) -> None:
    """Add `other` to `sums` in place."""
    for name in ALL_SUMS:
        sums[name] += other[name]


def negative(sums: Sums) -> Sums:
    """Return the negated sums."""
    return {name: -sums[name] for name in ALL_SUMS}


def _write(question: Question, source: Source, when: sql.SQL) -> sql.Composed:
    parts = table_of(question, source)
    sums = _ROLLUP_SUMS if source == "rollup" else _AGGREGATE_SUMS
    return _QUERY.format(title=_TITLES[source], names=parts.pop("name"), sums=sums, when=when, **parts)


def table_of(question: Question, source: Source) -> dict[str, sql.Composable]:
    """Return the parts of a statement that depend on the table."""
    columns = COLUMNS
    if source == "usage_aggregate":
        inside, part = question.cut or (None, _STATUS)
        columns = {"account": COLUMNS["account"], inside: sql.SQL("inside"), part: sql.SQL("part")}  # type: ignore[dict-item]
    names = [columns[name] for name in question.group_by]
    selected: sql.Composable = SOURCES[source]
    if question.only is not None:
        selected = sql.SQL("{} AND {} = ANY(%(only)s::text[])").format(selected, names[0])
    return {
        "name": sql.SQL(", ").join(names),
        "table": sql.Identifier(source),
        "same_bucket": _SAME_ROLLUP if source == "rollup" else _SAME_AGGREGATE,
        "selected": selected,
    }


def parameters_of(question: Question) -> dict[str, Any]:
    """Return the statement parameters of a query."""
    inside, name = question.cut or (None, "")
    return {
        "account_id": question.account_id,
        "key": question.key,
        "route": question.route,
        "model": question.model,
        "tag": question.tag,
        "breakdown": f"{inside}>{name}" if inside else name,
        "inside": question.filters.get(inside) if inside else "",
        "only": None if question.only is None else list(question.only),
    }


def bucket_parameters(buckets: Buckets) -> dict[str, Any]:
    """Return the statement parameters of buckets."""
    spans, firsts, lengths_s, signs = (list(column) for column in zip(*buckets.rows, strict=True))
    return {
        "spans": spans,
        "firsts": [_to_datetime(first_s) for first_s in firsts],
        "lengths": lengths_s,
        "signs": signs,
        "moments": buckets.moments,
        "half_days": buckets.half_days,
        "start": buckets.moments[0],
        "end": buckets.moments[-1],
        "all_lengths": sorted(buckets.lengths_s),
    }
