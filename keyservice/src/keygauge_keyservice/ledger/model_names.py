"""The model names in an account's sums: each UTC day has up to `MOST`; calls of further models are added to `OTHER`.

Apps may answer with any name that a caller makes up. Events keep their exact names, and so do prices.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, TypeAlias

from keygauge.tag import OTHER
from keygauge_keyservice.database import Connection
from keygauge_keyservice.ledger.aggregate import DAY_S
from keygauge_keyservice.ledger.event import Event
from keygauge_keyservice.ledger.rollup import Group, group_of

MOST = 500  # per account and UTC day

Name: TypeAlias = tuple[str, int, str]
"""An account, the first second of a UTC day, and a model."""
Row: TypeAlias = Mapping[str, Any]

_LOCK_ID = 0x6B67_0008
_DAY_US = DAY_S * 1_000_000
# Only batches with new names wait for each other, so that no name is added to `OTHER` after it got sums of its own.
_LOCK = (
    "/* usage_aggregate.lock_names */ SELECT pg_advisory_xact_lock(%s, hashtext(account_id)) "
    "FROM unnest(%s::text[]) AS account_id"
)
_KNOWN = """/* usage_aggregate.known_names */
SELECT account_id, bucket_s, part
FROM unnest(%s::text[], %s::bigint[], %s::text[]) AS batch (account_id, bucket_s, part)
JOIN usage_aggregate USING (account_id, part)
WHERE length_s = 86400 AND breakdown = 'model' AND inside = '' AND bucket = to_timestamp(bucket_s)"""
_COUNT = """/* usage_aggregate.count_names */
SELECT account_id, bucket_s, count(*) AS names
FROM unnest(%s::text[], %s::bigint[]) AS batch (account_id, bucket_s) JOIN usage_aggregate USING (account_id)
WHERE length_s = 86400 AND breakdown = 'model' AND inside = '' AND bucket = to_timestamp(bucket_s)
AND part NOT IN (%s, '') GROUP BY 1, 2"""


def names_of(events: Iterable[Event]) -> set[Name]:
    """Return the names in some events."""
    return {(event.account, event.time_us // _DAY_US * DAY_S, event.model) for event in events if event.model}


def find(connection: Connection, names: Collection[Name]) -> Iterable[Row]:
    """Look for the names that have sums of their own; in a pipeline, read the rows after its end."""
    columns = [list(column) for column in zip(*names, strict=True)] or [[], [], []]
    return connection.execute(_KNOWN, columns)


def read(found: Iterable[Row]) -> set[Name]:
    """Return the names that were found."""
    return {(row["account_id"], row["bucket_s"], row["part"]) for row in found}


def grouping(connection: Connection, events: Iterable[Event], known: set[Name]) -> Callable[[Event], Group]:
    """Return the function that names the group of each of these events, which the caller's transaction will add.

    `known` are names that have sums of their own.
    """
    names = names_of(events)
    if new := names - known:
        connection.execute(_LOCK, (_LOCK_ID, sorted({account for account, _, _ in new})))
        new -= read(find(connection, new))
        new -= _admit(connection, sorted(new))
    return _grouping(new)


def grouping_of_past(connection: Connection, events: Iterable[Event]) -> Callable[[Event], Group]:
    """Return the function that names the groups that contain these events in the ledger."""
    names = names_of(events)
    return _grouping(names - read(find(connection, names)))


def _admit(connection: Connection, new: Collection[Name]) -> set[Name]:
    """Return the new names for which their days have room."""
    if not new:
        return set()
    days = list({(account, day_s) for account, day_s, _ in new})
    found = connection.execute(_COUNT, (*(list(column) for column in zip(*days, strict=True)), OTHER))
    used = Counter({(row["account_id"], row["bucket_s"]): row["names"] for row in found})
    admitted = set()
    for account, day_s, name in new:
        if used[account, day_s] < MOST:
            used[account, day_s] += 1
            admitted.add((account, day_s, name))
    return admitted


def _grouping(others: Collection[Name]) -> Callable[[Event], Group]:
    if not others:
        return group_of

    def group(event: Event) -> Group:
        bucket_s, account, key, route, model, status = group_of(event)
        is_other = (account, bucket_s - bucket_s % DAY_S, model) in others
        return (bucket_s, account, key, route, OTHER if is_other else model, status)

    return group
