"""Usage aggregates: sums by one dimension, or by one dimension within another, in buckets of 15 minutes to a week."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from struct import Struct
from typing import Literal, TypeAlias

from psycopg import sql

from keygauge_keyservice.database import Connection
from keygauge_keyservice.ledger.rollup import BUCKET_S, Group, array

Dimension: TypeAlias = Literal["key", "route", "model", "status"]
UsageAggregate: TypeAlias = tuple[str, int, str, str, int, str]
"""A row's key: account, length, breakdown, inside, bucket (unix seconds), part."""
Columns: TypeAlias = Sequence[str | list[str]]
"""Rows to add, column by column; arrays of numbers are PostgreSQL array literals."""

DAY_S = 86_400
LENGTHS_S = (604_800, DAY_S, 7_200, BUCKET_S)  # buckets start at multiples of their length since 1970 UTC
DIMENSIONS: tuple[Dimension, ...] = ("key", "route", "model", "status")
SUMS = (
    *("requests", "limited", "client_errors", "server_errors"),
    *("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens"),
    *("request_bytes", "response_bytes", "cost_nanousd", "duration_us"),
)
NUMBERS = ("durations", "kind_costs")  # packed numbers: the histogram of durations, and the cost of each kind
ALL_SUMS = (*SUMS, *NUMBERS)
TYPES = sql.SQL(", ").join([sql.SQL("%s::bigint[]")] * len(SUMS) + [sql.SQL("%s::numeric[]")] * len(NUMBERS))
"""The SQL types of the arrays for `ALL_SUMS`."""
# Pages filtered by one key, route or model show sums by each of the other dimensions.
_PAIRS = [
    (f"{DIMENSIONS[inside]}>{DIMENSIONS[part]}", inside, part)
    for inside in range(3)
    for part in range(4)
    if part != inside
]
_CLIENT_ERROR, _SERVER_ERROR = 4, 5  # status classes
# A row's sums are packed into one integer, so that two rows are added by one addition: the sums as 64-bit digits, above
# them the histogram, and above that the costs of kinds, of which there are usually few.
_digits = Struct(f"<{len(SUMS)}q")
_DIGITS = 8 * _digits.size
_ALL_DIGITS = (1 << _DIGITS) - 1
_HISTOGRAM = 8 * 100  # bits, for twelve decimal digits per bucket and twenty buckets
_ALL_HISTOGRAM = (1 << _HISTOGRAM) - 1

_ADD = sql.SQL(
    """/* usage_aggregate.add */
INSERT INTO usage_aggregate (account_id, length_s, breakdown, inside, bucket, part, {names})
SELECT account_id, length_s, breakdown, inside, to_timestamp(bucket_s), part, {names}
FROM unnest(
    %s::text[], %s::integer[], %s::text[], %s::text[], %s::bigint[], %s::text[], {types}
) AS batch (account_id, length_s, breakdown, inside, bucket_s, part, {names})
-- All batches lock rows in the same order, so that they cannot deadlock.
ORDER BY account_id, length_s, breakdown, inside, bucket_s, part
ON CONFLICT (account_id, length_s, breakdown, inside, bucket, part) DO UPDATE SET {sums}
"""
).format(
    names=sql.SQL(", ").join(map(sql.Identifier, ALL_SUMS)),
    types=TYPES,
    sums=sql.SQL(", ").join(
        sql.SQL("{0} = usage_aggregate.{0} + excluded.{0}").format(sql.Identifier(name)) for name in ALL_SUMS
    ),
)


def columns(groups: Mapping[Group, Sequence[int]]) -> Columns:
    """Return what a batch's roll-ups add to the usage aggregates, for `write`; empty if there are no roll-ups."""
    if not groups:
        return ()
    usage_aggregates = add_up(groups)
    account, length_s, breakdown, inside, bucket_s, part = (
        list(column) for column in zip(*usage_aggregates, strict=True)
    )
    return (account, array(length_s), breakdown, inside, array(bucket_s), part, *unpack(usage_aggregates.values()))


def write(connection: Connection, columns: Columns) -> None:
    """Add a batch's roll-ups to the usage aggregates."""
    if columns:
        connection.execute(_ADD, columns)


def add_up(groups: Mapping[Group, Sequence[int]]) -> dict[UsageAggregate, int]:
    """Add up roll-ups by usage aggregate; each sum is a packed number."""
    usage_aggregates: defaultdict[UsageAggregate, int] = defaultdict(int)
    for group, row in groups.items():
        added = pack(row, group[-1])
        for usage_aggregate in aggregates_of(group):
            usage_aggregates[usage_aggregate] += added
    return usage_aggregates


def aggregates_of(group: Group) -> list[UsageAggregate]:
    """Return the keys of the aggregate rows that a roll-up is part of."""
    bucket_s, account, key, route, model, status = group
    names = (key, route, model, f"{status}xx")
    day_s = bucket_s - bucket_s % DAY_S
    whole = [
        (account, length_s, dimension, "", bucket_s - bucket_s % length_s, name)
        for length_s in LENGTHS_S
        for dimension, name in zip(DIMENSIONS, names, strict=True)
        if has_length(dimension, length_s)
    ]
    return whole + [
        (account, DAY_S, breakdown, names[inside], day_s, names[part]) for breakdown, inside, part in _PAIRS
    ]


def has_length(dimension: str, length_s: int) -> bool:
    """Return whether sums by one dimension exist in buckets of a length; by key there are no 15-minute buckets."""
    return dimension != "key" or length_s > BUCKET_S


def pack(row: Sequence[int], status: int) -> int:
    """Pack a roll-up's sums into one number that can be added to others."""
    requests, limited, *others, durations, kind_costs = row
    errors = (requests - limited if status == _CLIENT_ERROR else 0, requests if status == _SERVER_ERROR else 0)
    digits = int.from_bytes(_digits.pack(requests, limited, *errors, *others), "little")
    return digits + ((durations + (kind_costs << _HISTOGRAM)) << _DIGITS)


def unpack(sums: Iterable[int]) -> Columns:
    """Unpack packed sums into columns, one for each of `ALL_SUMS`."""
    return [array(column) for column in zip(*map(_row, sums), strict=True)]


def _row(added: int) -> tuple[int, ...]:
    digits, numbers = added & _ALL_DIGITS, added >> _DIGITS
    return (
        *_digits.unpack(digits.to_bytes(_digits.size, "little")),
        numbers & _ALL_HISTOGRAM,
        numbers >> _HISTOGRAM,
    )
