"""The usage aggregates: sums by one dimension, or by one within another, in buckets of 15 minutes to a week."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from struct import Struct
from typing import Literal, TypeAlias

from psycopg import sql

from keygauge_keyservice.database import Connection
from keygauge_keyservice.ledger.rollup import BUCKET_S, DURATION_COUNTS, Group, array

Dimension: TypeAlias = Literal["key", "route", "model", "status"]
UsageAggregate: TypeAlias = tuple[str, int, str, str, int, str]
"""A row's key: account, length, breakdown, inside, bucket (unix seconds), part."""
Columns: TypeAlias = Sequence[str | list[str]]
"""Rows to add, column by column; numbers are written as PostgreSQL does."""

DAY_S = 86_400
LENGTHS_S = (604_800, DAY_S, 7_200, BUCKET_S)  # a bucket begins at a multiple of its length since 1970 UTC
DIMENSIONS: tuple[Dimension, ...] = ("key", "route", "model", "status")
SUMS = (
    *("requests", "limited", "client_errors", "server_errors"),
    *("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens"),
    *("request_bytes", "response_bytes", "cost_nanousd", "duration_us"),
)
# A filter narrows to one key, route or model; within it, a page asks for each of the others.
_PAIRS = [
    (f"{DIMENSIONS[inside]}>{DIMENSIONS[part]}", inside, part)
    for inside in range(3)
    for part in range(4)
    if part != inside
]
_CLIENT_ERROR, _SERVER_ERROR = 4, 5  # classes of status
# A row's sums as one whole number of 64-bit digits: adding two rows is one addition.
_digits = Struct(f"<{len(SUMS) + DURATION_COUNTS}q")

_ADD = sql.SQL(
    """/* usage_aggregate.add */
INSERT INTO usage_aggregate (account_id, length_s, breakdown, inside, bucket, part, {names}, duration_counts)
SELECT account_id, length_s, breakdown, inside, to_timestamp(bucket_s), part, {names}, duration_counts::bigint[]
FROM unnest(
    %s::text[], %s::integer[], %s::text[], %s::text[], %s::bigint[], %s::text[], {types}, %s::text[]
) AS batch (account_id, length_s, breakdown, inside, bucket_s, part, {names}, duration_counts)
-- One order of locks for every batch: two of them never wait for each other.
ORDER BY account_id, length_s, breakdown, inside, bucket_s, part
ON CONFLICT (account_id, length_s, breakdown, inside, bucket, part) DO UPDATE SET
    {sums}, duration_counts = ARRAY[{counts}]
"""
).format(
    names=sql.SQL(", ").join(map(sql.Identifier, SUMS)),
    types=sql.SQL(", ").join([sql.SQL("%s::bigint[]")] * len(SUMS)),
    sums=sql.SQL(", ").join(
        sql.SQL("{0} = usage_aggregate.{0} + excluded.{0}").format(sql.Identifier(name)) for name in SUMS
    ),
    counts=sql.SQL(", ").join(
        sql.SQL("usage_aggregate.duration_counts[{0}] + excluded.duration_counts[{0}]").format(sql.Literal(number + 1))
        for number in range(DURATION_COUNTS)
    ),
)


def columns(groups: Mapping[Group, Sequence[int]]) -> Columns:
    """Return what a batch's roll-ups add to the usage aggregates, as `write` takes it; none for no roll-ups."""
    if not groups:
        return ()
    usage_aggregates = add_up(groups)
    rows = [_digits.unpack(added.to_bytes(_digits.size, "little")) for added in usage_aggregates.values()]
    sums = list(zip(*rows, strict=True))[: len(SUMS)]
    account, length_s, breakdown, inside, bucket_s, part = (
        list(column) for column in zip(*usage_aggregates, strict=True)
    )
    counts = [array(row[len(SUMS) :]) for row in rows]
    return (account, array(length_s), breakdown, inside, array(bucket_s), part, *map(array, sums), counts)


def write(connection: Connection, columns: Columns) -> None:
    """Add a batch's roll-ups to the usage aggregates."""
    if columns:
        connection.execute(_ADD, columns)


def add_up(groups: Mapping[Group, Sequence[int]]) -> dict[UsageAggregate, int]:
    """Add roll-ups up along their dimensions; a sum is one number whose 64-bit digits are the columns."""
    usage_aggregates: defaultdict[UsageAggregate, int] = defaultdict(int)
    for group, row in groups.items():
        added = _pack(row, group[-1])
        for usage_aggregate in aggregates_of(group):
            usage_aggregates[usage_aggregate] += added
    return usage_aggregates


def aggregates_of(group: Group) -> list[UsageAggregate]:
    """Return the rows that a roll-up is part of."""
    bucket_s, account, key, route, model, status = group
    names = (key, route, model, f"{status}xx")
    day_s = bucket_s - bucket_s % DAY_S
    whole = [
        (account, length_s, dimension, "", bucket_s - bucket_s % length_s, name)
        for length_s in LENGTHS_S
        for dimension, name in zip(DIMENSIONS, names, strict=True)
    ]
    return whole + [
        (account, DAY_S, breakdown, names[inside], day_s, names[part]) for breakdown, inside, part in _PAIRS
    ]


def _pack(row: Sequence[int], status: int) -> int:
    requests, limited, *others = row
    errors = (requests - limited if status == _CLIENT_ERROR else 0, requests if status == _SERVER_ERROR else 0)
    return int.from_bytes(_digits.pack(requests, limited, *errors, *others), "little")
