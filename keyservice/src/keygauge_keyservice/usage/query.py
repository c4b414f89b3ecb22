"""The queries behind usage: sums over time covers, from usage aggregates where they hold them, else from roll-ups."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, LiteralString, TypeAlias

from psycopg import sql

from keygauge_keyservice.database import Connection
from keygauge_keyservice.ledger.aggregate import DAY_S, DIMENSIONS, LENGTHS_S, SUMS
from keygauge_keyservice.ledger.rollup import BUCKET_S, DURATION_COUNTS
from keygauge_keyservice.usage.time_cover import TimeCover

Grouping: TypeAlias = Literal["account", "key", "route", "model", "status"]
Names: TypeAlias = tuple[str, ...]
"""A group: an account, key, route, model or class of status for each dimension that is asked for."""
Sums: TypeAlias = dict[str, Any]
"""The columns of `Tally` by name."""

_PAIR = 2  # of dimensions: a usage aggregate holds no more

_FILTERS = ("key", "route", "model")
_STATUS = "status"  # the smallest usage aggregate: what is asked for without groups adds up its few rows
COLUMNS = {
    "account": sql.SQL("account_id"),
    "key": sql.SQL("key_id"),
    "route": sql.SQL("route"),
    "model": sql.SQL("model"),
    "status": sql.SQL("status_class || 'xx'"),
}
_COUNTS = sql.SQL(", ").join(
    sql.SQL("sum(sign * duration_counts[{}])").format(sql.Literal(number + 1)) for number in range(DURATION_COUNTS)
)
_AGGREGATE_SUMS = sql.SQL("{sums}, ARRAY[{counts}]::bigint[] AS duration_counts").format(
    sums=sql.SQL(", ").join(sql.SQL("sum(sign * {0})::bigint AS {0}").format(sql.Identifier(name)) for name in SUMS),
    counts=_COUNTS,
)
_ERRORS = {
    "client_errors": sql.SQL("sum(sign * CASE status_class WHEN 4 THEN requests - limited ELSE 0 END)::bigint"),
    "server_errors": sql.SQL("sum(sign * CASE status_class WHEN 5 THEN requests ELSE 0 END)::bigint"),
}
_ROLLUP_SUMS = sql.SQL("{sums}, ARRAY[{counts}]::bigint[] AS duration_counts").format(
    sums=sql.SQL(", ").join(
        sql.SQL("{} AS {}").format(
            _ERRORS.get(name, sql.SQL("sum(sign * {})::bigint").format(sql.Identifier(name))), sql.Identifier(name)
        )
        for name in SUMS
    ),
    counts=_COUNTS,
)
# A range of the index for each time cover, and few rows in memory for each span: grouping all by a truncated time would
# sort them on disk.
_QUERY = sql.SQL(
    """/* {title} */
    WITH time_cover AS MATERIALIZED (
        SELECT * FROM unnest(
            %(spans)s::integer[], %(firsts)s::timestamptz[], %(lasts)s::timestamptz[], %(lengths)s::integer[],
            %(signs)s::integer[]
        ) AS given (span, first, last, length_s, sign)
    )
    SELECT span.number, part.*
    FROM (SELECT DISTINCT span AS number FROM time_cover) AS span
    CROSS JOIN LATERAL (
        SELECT ARRAY[{names}]::text[] AS names, {sums}
        FROM time_cover CROSS JOIN LATERAL (
            SELECT * FROM {table}
            WHERE (%(account_id)s::text IS NULL OR account_id = %(account_id)s)
            AND bucket >= time_cover.first AND bucket < time_cover.last AND {selected}
            OFFSET 0
        ) AS calls
        WHERE time_cover.span = span.number
        GROUP BY 1
    ) AS part"""
)
_FROM_AGGREGATE = sql.SQL(
    "length_s = time_cover.length_s AND breakdown = %(breakdown)s AND (%(inside)s::text IS NULL OR inside = %(inside)s)"
)
_FROM_ROLLUP = sql.SQL(
    "(%(key)s::text IS NULL OR key_id = %(key)s) AND (%(route)s::text IS NULL OR route = %(route)s) "
    "AND (%(model)s::text IS NULL OR model = %(model)s)"
)


@dataclass(frozen=True, kw_only=True)
class Question:
    """Whose calls, narrowed to a key, a route and a model where they are given, and told apart by what.

    `only` keeps some groups of the first dimension that they are told apart by.
    """

    account_id: str | None
    key: str | None
    route: str | None
    model: str | None
    group_by: tuple[Grouping, ...]
    only: tuple[str, ...] | None = None

    @cached_property
    def filters(self) -> dict[str, str]:
        """The dimensions that are narrowed down, and to what."""
        return {name: value for name in _FILTERS if (value := getattr(self, name)) is not None}

    @cached_property
    def cut(self) -> tuple[str | None, str] | None:
        """The breakdown that holds the answer: by its second dimension within its first; None where none does."""
        parts = [name for name in DIMENSIONS if name in self.group_by and name not in self.filters]
        names = [*self.filters, *parts]
        if len(self.filters) > 1 or len(names) > _PAIR:
            return None
        if len(names) == _PAIR:
            return names[0], names[1]
        return (names[0], _STATUS) if self.filters else (None, names[0] if names else _STATUS)

    @property
    def lengths_s(self) -> tuple[int, ...]:
        """The lengths of the buckets that answer it: of usage aggregates, or of roll-ups where that takes two."""
        if self.cut is None:
            return (BUCKET_S,)
        if self.cut[0] is None:
            return LENGTHS_S
        return (DAY_S, BUCKET_S) if self.account_id is not None else (BUCKET_S,)

    def is_in_aggregate(self, time_cover: TimeCover) -> bool:
        """Tell whether a usage aggregate holds the answer: by one dimension in all lengths, within another in days."""
        return self.cut is not None and (self.cut[0] is None or time_cover.length_s == DAY_S)


def find_sums(
    connection: Connection, question: Question, time_covers: Sequence[tuple[int, TimeCover]]
) -> Iterator[tuple[int, Names, Sums]]:
    """Yield sums by the number of a span, whose time covers these are, and by group; a pair of them may come twice."""
    for make_query, part in (
        (_aggregate_query, [item for item in time_covers if question.is_in_aggregate(item[1])]),
        (_rollup_query, [item for item in time_covers if not question.is_in_aggregate(item[1])]),
    ):
        if part:
            rows = connection.execute(make_query(question), _parameters(question, part), prepare=False)
            yield from ((row.pop("number"), tuple(row.pop("names")), row) for row in rows)


def merge(sums: Sums, other: Mapping[str, Any]) -> None:
    """Add other sums to these."""
    for name in SUMS:
        sums[name] += other[name]
    counts = zip(sums["duration_counts"], other["duration_counts"], strict=True)
    sums["duration_counts"] = [mine + its for mine, its in counts]


def _aggregate_query(question: Question) -> sql.Composed:
    inside, part = question.cut or (None, _STATUS)
    columns = {"account": COLUMNS["account"], inside: sql.SQL("inside"), part: sql.SQL("part")}
    names = [columns[name] for name in question.group_by]
    return _compose(
        "usage.usage_aggregates", "usage_aggregate", names, _AGGREGATE_SUMS, _selected(question, names, _FROM_AGGREGATE)
    )


def _rollup_query(question: Question) -> sql.Composed:
    columns = [COLUMNS[name] for name in question.group_by]
    return _compose("usage.rollups", "rollup", columns, _ROLLUP_SUMS, _selected(question, columns, _FROM_ROLLUP))


def _selected(question: Question, names: Sequence[sql.SQL], selected: sql.Composable) -> sql.Composable:
    if question.only is None:
        return selected
    return sql.SQL("{} AND {} = ANY(%(only)s::text[])").format(selected, names[0])


def _compose(
    title: LiteralString, table: str, names: Sequence[sql.SQL], sums: sql.Composable, selected: sql.Composable
) -> sql.Composed:
    return _QUERY.format(
        title=sql.SQL(title),
        names=sql.SQL(", ").join(names),
        sums=sums,
        table=sql.Identifier(table),
        selected=selected,
    )


def _parameters(question: Question, part: Sequence[tuple[int, TimeCover]]) -> dict[str, Any]:
    inside, name = question.cut or (None, "")
    return {
        "account_id": question.account_id,
        "key": question.key,
        "route": question.route,
        "model": question.model,
        "breakdown": f"{inside}>{name}" if inside else name,
        "inside": question.filters.get(inside) if inside else "",
        "only": None if question.only is None else list(question.only),
        "spans": [number for number, _ in part],
        "firsts": [time_cover.first for _, time_cover in part],
        "lasts": [time_cover.last for _, time_cover in part],
        "lengths": [time_cover.length_s for _, time_cover in part],
        "signs": [time_cover.sign for _, time_cover in part],
    }
