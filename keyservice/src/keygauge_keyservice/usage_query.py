"""The queries behind usage: sums of stretches of time, from the margins where they hold them, else from roll-ups."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from psycopg import sql

from keygauge_keyservice.database import Connection
from keygauge_keyservice.margin import DAY_S, LENGTHS_S, SUMS
from keygauge_keyservice.rollup import BUCKET_S, DURATION_COUNTS
from keygauge_keyservice.stretch import Stretch

Grouping: TypeAlias = Literal["account", "key", "route", "model", "status"]
Sums: TypeAlias = dict[str, Any]
"""The columns of `Tally` by name."""

_FILTERS = ("key", "route", "model")
_STATUS = "status"  # the smallest margin: what is asked for without groups adds up its few rows
_GROUPS = {
    "account": sql.SQL("account_id"),
    "key": sql.SQL("key_id"),
    "route": sql.SQL("route"),
    "model": sql.SQL("model"),
    "status": sql.SQL("status_class || 'xx'"),
}
_COUNTS = sql.SQL(", ").join(
    sql.SQL("sum(duration_counts[{}])").format(sql.Literal(number + 1)) for number in range(DURATION_COUNTS)
)
_MARGIN_SUMS = sql.SQL("{sums}, ARRAY[{counts}]::bigint[] AS duration_counts").format(
    sums=sql.SQL(", ").join(sql.SQL("sum({0})::bigint AS {0}").format(sql.Identifier(name)) for name in SUMS),
    counts=_COUNTS,
)
_ERRORS = {
    "client_errors": sql.SQL("sum(CASE status_class WHEN 4 THEN requests - limited ELSE 0 END)::bigint"),
    "server_errors": sql.SQL("sum(CASE status_class WHEN 5 THEN requests ELSE 0 END)::bigint"),
}
_ROLLUP_SUMS = sql.SQL("{sums}, ARRAY[{counts}]::bigint[] AS duration_counts").format(
    sums=sql.SQL(", ").join(
        sql.SQL("{} AS {}").format(
            _ERRORS.get(name, sql.SQL("sum({})::bigint").format(sql.Identifier(name))), sql.Identifier(name)
        )
        for name in SUMS
    ),
    counts=_COUNTS,
)
# A range of the index for each stretch: grouping by a truncated time would sort all rows on disk.
_QUERY = sql.SQL(
    """/* {title} */
    SELECT stretch.number, part.*
    FROM unnest(%(numbers)s::integer[], %(firsts)s::timestamptz[], %(lasts)s::timestamptz[], %(lengths)s::integer[])
        AS stretch (number, first, last, length_s)
    CROSS JOIN LATERAL (
        SELECT {group} AS name, {sums} FROM {table}
        WHERE (%(account_id)s::text IS NULL OR account_id = %(account_id)s)
        AND bucket >= stretch.first AND bucket < stretch.last AND {selected}
        GROUP BY 1
    ) AS part"""
)
_FROM_MARGIN = sql.SQL("length_s = stretch.length_s AND breakdown = %(breakdown)s AND inside = %(inside)s")
_FROM_ROLLUP = sql.SQL(
    "(%(key)s::text IS NULL OR key_id = %(key)s) AND (%(route)s::text IS NULL OR route = %(route)s) "
    "AND (%(model)s::text IS NULL OR model = %(model)s)"
)


@dataclass(frozen=True, kw_only=True)
class Question:
    """Whose calls, narrowed to a key, a route and a model where they are given, and told apart by what."""

    account_id: str | None
    key: str | None
    route: str | None
    model: str | None
    group_by: Grouping | None

    @property
    def filters(self) -> dict[str, str]:
        """The dimensions that are narrowed down, and to what."""
        return {name: value for name in _FILTERS if (value := getattr(self, name)) is not None}

    @property
    def lengths_s(self) -> tuple[int, ...]:
        """The lengths of the buckets that answer it: of margins, or the last one of roll-ups where it is filtered."""
        if not self.filters:
            return LENGTHS_S
        return (DAY_S, BUCKET_S) if len(self.filters) == 1 and self.account_id is not None else (BUCKET_S,)

    def is_in_margin(self, stretch: Stretch) -> bool:
        """Tell whether a margin holds the answer: by one dimension in all lengths, within another in days."""
        return not self.filters or stretch.length_s == DAY_S


def find_sums(
    connection: Connection, question: Question, stretches: Sequence[Stretch]
) -> Iterator[tuple[int, str | None, Sums]]:
    """Yield the sums of each stretch and group: the stretch's index, the group's name, and unsigned sums."""
    numbered = list(enumerate(stretches))
    for query, part in (
        (_margin_query(question), [item for item in numbered if question.is_in_margin(item[1])]),
        (_rollup_query(question), [item for item in numbered if not question.is_in_margin(item[1])]),
    ):
        if part:
            rows = connection.execute(query, _parameters(question, part), prepare=False)
            yield from ((row.pop("number"), row.pop("name"), row) for row in rows)


def merge(sums: Sums, other: Mapping[str, Any], sign: int) -> None:
    """Add other sums to these, or take them away."""
    for name in SUMS:
        sums[name] += sign * other[name]
    counts = zip(sums["duration_counts"], other["duration_counts"], strict=True)
    sums["duration_counts"] = [mine + sign * its for mine, its in counts]


def _margin_query(question: Question) -> sql.Composed:
    group: sql.Composable
    if question.group_by == "account":
        group = _GROUPS["account"]
    elif question.group_by is None:
        group = sql.SQL("NULL::text")
    else:
        group = sql.Identifier("inside" if question.group_by in question.filters else "part")
    title = sql.SQL("usage.margins")
    return _QUERY.format(title=title, group=group, sums=_MARGIN_SUMS, table=sql.SQL("margin"), selected=_FROM_MARGIN)


def _rollup_query(question: Question) -> sql.Composed:
    group = _GROUPS[question.group_by] if question.group_by else sql.SQL("NULL::text")
    title = sql.SQL("usage.rollups")
    return _QUERY.format(title=title, group=group, sums=_ROLLUP_SUMS, table=sql.SQL("rollup"), selected=_FROM_ROLLUP)


def _parameters(question: Question, part: Sequence[tuple[int, Stretch]]) -> dict[str, Any]:
    wanted = question.group_by or _STATUS
    if wanted == "account" or wanted in question.filters:
        wanted = _STATUS
    inside = next(iter(question.filters), None)
    return {
        "account_id": question.account_id,
        "key": question.key,
        "route": question.route,
        "model": question.model,
        "breakdown": f"{inside}>{wanted}" if inside else wanted,
        "inside": question.filters[inside] if inside else "",
        "numbers": [number for number, _ in part],
        "firsts": [stretch.first for _, stretch in part],
        "lasts": [stretch.last for _, stretch in part],
        "lengths": [stretch.length_s for _, stretch in part],
    }
