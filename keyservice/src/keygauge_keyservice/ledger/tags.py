"""Sums by tag, updated with every batch of events; the number of tags is bounded.

Per UTC day, an account can have up to `MOST` pairs of key and tag; further pairs are added to the tag `OTHER`. When a
day is full, a job keeps the pairs with the most calls, `MOST` / 2 of them, and adds the others to `OTHER`. Totals never
decrease.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TypeAlias

from psycopg import sql

from keygauge.tag import OTHER
from keygauge_keyservice.database import Connection
from keygauge_keyservice.ledger.aggregate import ALL_SUMS, DAY_S, NUMBERS, SUMS, TYPES, pack, unpack
from keygauge_keyservice.ledger.event import Event
from keygauge_keyservice.ledger.rollup import BUCKET_S, Group, Sums, array, group_of
from keygauge_keyservice.pricing.cost import Cost

MOST = 10_000  # pairs of key and tag per account and day; concurrent batches may exceed it
LENGTHS_S = (DAY_S, BUCKET_S)

Day: TypeAlias = tuple[str, int]
"""An account and the first second of a UTC day."""
Pair: TypeAlias = tuple[str, str]
"""A key and a tag."""
Row: TypeAlias = tuple[str, int, int, str, str]
"""A row's key: account, length, bucket (unix seconds), key, tag."""

# Batches that add pairs hold this lock in shared mode; folding and rewriting hold it exclusively.
_SHARE = (
    "/* usage_tag.share */ SELECT pg_advisory_xact_lock_shared(%s, hashtext(account_id)) "
    "FROM unnest(%s::text[]) AS account_id"
)
_LOCK = "/* usage_tag.lock */ SELECT pg_advisory_xact_lock(%s, hashtext(%s))"
_LOCK_ID = 0x6B67_0005
_KNOWN = """/* usage_tag.known */
SELECT account_id, bucket_s, key_id, tag
FROM unnest(%s::text[], %s::bigint[], %s::text[], %s::text[]) AS batch (account_id, bucket_s, key_id, tag)
JOIN usage_tag USING (account_id, key_id, tag)
WHERE length_s = 86400 AND bucket = to_timestamp(bucket_s)"""
_COUNT = """/* usage_tag.count */
SELECT account_id, bucket_s, count(*) AS pairs
FROM unnest(%s::text[], %s::bigint[]) AS batch (account_id, bucket_s) JOIN usage_tag USING (account_id)
WHERE length_s = 86400 AND bucket = to_timestamp(bucket_s) AND tag <> %s GROUP BY 1, 2"""
_NAMES = sql.SQL(", ").join(map(sql.Identifier, ALL_SUMS))
_ADD_SUMS = sql.SQL(", ").join(
    sql.SQL("{0} = kept.{0} + excluded.{0}").format(sql.Identifier(name)) for name in ALL_SUMS
)
_ADD = sql.SQL("""/* usage_tag.add */
INSERT INTO usage_tag AS kept (account_id, length_s, bucket, key_id, tag, {names})
SELECT account_id, length_s, to_timestamp(bucket_s), key_id, tag, {names}
FROM unnest(%s::text[], %s::integer[], %s::bigint[], %s::text[], %s::text[], {types})
    AS batch (account_id, length_s, bucket_s, key_id, tag, {names})
-- All batches lock rows in the same order, so that they cannot deadlock.
ORDER BY account_id, length_s, bucket_s, key_id, tag
ON CONFLICT (account_id, length_s, bucket, key_id, tag) DO UPDATE SET {added}""").format(
    names=_NAMES, types=TYPES, added=_ADD_SUMS
)
_FULL = """/* usage_tag.full */
SELECT account_id, bucket FROM usage_tag WHERE length_s = 86400 AND bucket >= %s AND tag <> %s
GROUP BY account_id, bucket HAVING count(*) >= %s ORDER BY account_id, bucket"""
_FOLD = sql.SQL("""/* usage_tag.fold */
WITH light AS (
    SELECT key_id, tag FROM usage_tag
    WHERE account_id = %(account)s AND length_s = 86400 AND bucket = %(day)s AND tag <> %(other)s
    ORDER BY requests DESC, key_id, tag OFFSET %(kept)s
), gone AS (
    DELETE FROM usage_tag USING light
    WHERE usage_tag.account_id = %(account)s AND length_s = ANY(%(lengths)s) AND bucket >= %(day)s AND bucket < %(end)s
    AND usage_tag.key_id = light.key_id AND usage_tag.tag = light.tag RETURNING usage_tag.*
)
INSERT INTO usage_tag AS kept (account_id, length_s, bucket, key_id, tag, {names})
SELECT %(account)s, length_s, bucket, key_id, %(other)s, {sums}
FROM gone GROUP BY length_s, bucket, key_id
ON CONFLICT (account_id, length_s, bucket, key_id, tag) DO UPDATE SET {added}""").format(
    names=_NAMES,
    sums=sql.SQL(", ").join(
        [sql.SQL("sum({})::bigint").format(sql.Identifier(name)) for name in SUMS]
        + [sql.SQL("sum({})").format(sql.Identifier(name)) for name in NUMBERS]
    ),
    added=_ADD_SUMS,
)
_LOOKED_BACK = timedelta(days=2)


def group_of_tag(event: Event) -> Group:
    """Return the group for an event's tag: the tag takes the place of the model, and the route is empty."""
    bucket_s, account, key, _, _, status = group_of(event)
    return (bucket_s, account, key, "", event.tag or "", status)


def write(connection: Connection, groups: Mapping[Group, Sequence[int]]) -> None:
    """Add sums by tag; new pairs on a full day are added to `OTHER`."""
    if not groups:
        return
    pairs = _pairs(groups)
    accounts = sorted({account for account, _ in pairs})
    connection.execute(_SHARE, (_LOCK_ID, accounts))
    kept = _keep(connection, pairs)
    sums: defaultdict[Row, int] = defaultdict(int)
    for (bucket_s, account, key, _, tag, status), row in groups.items():
        added, day_s = pack(row, status), bucket_s - bucket_s % DAY_S
        name = tag if (key, tag) in kept[account, day_s] else OTHER
        sums[account, DAY_S, day_s, key, name] += added
        sums[account, BUCKET_S, bucket_s, key, name] += added
    account_ids, lengths_s, buckets_s, keys, tags = (list(column) for column in zip(*sums, strict=True))
    connection.execute(_ADD, (account_ids, array(lengths_s), array(buckets_s), keys, tags, *unpack(sums.values())))


def fold(connection: Connection, now: datetime, *, most: int = MOST) -> int:
    """Fold days that are full, keeping the half of the pairs with the most calls; return the number of such days.

    The connection must be in autocommit mode.
    """
    full = connection.execute(_FULL, (now - _LOOKED_BACK, OTHER, most)).fetchall()
    for row in full:
        account, day = row["account_id"], row["bucket"]
        with connection.transaction():
            connection.execute(_LOCK, (_LOCK_ID, account))
            values = {"account": account, "day": day, "end": day + timedelta(days=1), "other": OTHER, "kept": most // 2}
            connection.execute(_FOLD, values | {"lengths": list(LENGTHS_S)})
    return len(full)


def has_any(connection: Connection, account: str, day: datetime | None = None) -> bool:
    """Return whether an account has calls with tags, on a UTC day or (None) at all."""
    row = connection.execute(
        "/* usage_tag.find */ SELECT FROM usage_tag WHERE account_id = %(account)s AND length_s = 86400 "
        "AND (%(day)s::timestamptz IS NULL OR bucket = %(day)s) LIMIT 1",
        {"account": account, "day": day},
    ).fetchone()
    return row is not None


def rewrite(
    connection: Connection, account: str, day: datetime, read: Callable[[], Iterable[tuple[Event, Cost | None]]]
) -> None:
    """Recompute the sums of an account's UTC day from its calls with tags, in the caller's transaction.

    `read` is called when the lock is held, so that no batch is adding to the sums.
    """
    connection.execute(_LOCK, (_LOCK_ID, account))
    sums = Sums(group_of_tag)
    for event, cost in read():
        sums.add(event, cost)
    connection.execute(
        "/* usage_tag.clear */ DELETE FROM usage_tag "
        "WHERE account_id = %s AND length_s = ANY(%s) AND bucket >= %s AND bucket < %s",
        (account, list(LENGTHS_S), day, day + timedelta(days=1)),
    )
    write(connection, sums.groups)


def _pairs(groups: Mapping[Group, Sequence[int]]) -> dict[Day, Counter[Pair]]:
    """Return the number of calls per pair, by day."""
    pairs: defaultdict[Day, Counter[Pair]] = defaultdict(Counter)
    for (bucket_s, account, key, _, tag, _), row in groups.items():
        pairs[account, bucket_s - bucket_s % DAY_S][key, tag] += row[0]
    return pairs


def _keep(connection: Connection, pairs: Mapping[Day, Counter[Pair]]) -> dict[Day, set[Pair]]:
    """Return the pairs with their own sums: existing ones, and the busiest new ones while there is room."""
    columns = [list(column) for column in zip(*_rows(pairs), strict=True)]
    kept: defaultdict[Day, set[Pair]] = defaultdict(set)
    for row in connection.execute(_KNOWN, columns):
        kept[row["account_id"], row["bucket_s"]].add((row["key_id"], row["tag"]))
    growing = [day for day, counts in pairs.items() if counts.keys() - kept[day]]
    if growing:
        accounts, days_s = (list(column) for column in zip(*growing, strict=True))
        found = connection.execute(_COUNT, (accounts, days_s, OTHER))
        used = {(row["account_id"], row["bucket_s"]): row["pairs"] for row in found}
        for day in growing:
            new = [pair for pair, _ in pairs[day].most_common() if pair not in kept[day]]
            kept[day].update(new[: max(MOST - used.get(day, 0), 0)])
    return kept


def _rows(pairs: Mapping[Day, Counter[Pair]]) -> Iterator[tuple[str, int, str, str]]:
    for (account, day_s), counts in pairs.items():
        for key, tag in counts:
            yield account, day_s, key, tag
