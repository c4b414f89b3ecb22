"""The IP addresses from which keys are used, and detection of new ones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from keygauge_keyservice.database import Connection
from keygauge_keyservice.ledger.event import Event

NOTED_MAX = 200  # per batch, which is enough to notice a flood from many addresses
_NEW = timedelta(days=1)
_KEPT = timedelta(days=90)  # after the last use

_NOTE = """/* addresses.note */
INSERT INTO key_address AS known (key_id, ip, account_id, first_at, last_at)
SELECT key_id, ip, account_id, at, at
FROM unnest(%s::text[], %s::text[], %s::text[], %s::timestamptz[]) AS batch (key_id, ip, account_id, at)
ON CONFLICT (key_id, ip) DO UPDATE SET last_at = excluded.last_at
WHERE known.last_at < excluded.last_at - interval '1 day'"""
_FIND = """/* addresses.find_new */
SELECT key.id AS key_id, key.name AS key_name, fresh.ips, fresh.ip
FROM (
    SELECT key_id, count(*) AS ips, min(ip) AS ip FROM (
        SELECT key_id, ip FROM key_address WHERE account_id = %(account_id)s AND first_at > %(since)s
        ORDER BY first_at DESC LIMIT %(scanned_max)s
    ) AS newest GROUP BY key_id
) AS fresh JOIN key ON key.id = fresh.key_id
WHERE key.account_id = %(account_id)s AND key.status <> 'deleted'
AND EXISTS (SELECT FROM key_address WHERE key_id = key.id AND first_at <= %(since)s)
ORDER BY key.name, key.id LIMIT 20"""
_SCANNED_MAX = 1_000  # new addresses read per account, newest first


@dataclass(frozen=True)
class NewAddresses:
    """A key that was used before and, in the last 24 hours, also from new addresses."""

    key_id: str
    key_name: str
    ips: int
    ip: str  # an example


def note(connection: Connection, events: Iterable[Event]) -> None:
    """Record the addresses of a batch's calls, in sorted order so that concurrent batches cannot deadlock."""
    # The first call's time is accurate enough: times are compared by the day, and batches are much shorter.
    first: dict[tuple[str, str, str], int] = {}
    for event in events:
        if event.ip is not None and (event.key, event.ip, event.account) not in first:
            first[event.key, event.ip, event.account] = event.time_us
            if len(first) == NOTED_MAX:
                break
    rows = [(*used, _to_datetime(time_us)) for used, time_us in sorted(first.items())]
    if rows:
        connection.execute(_NOTE, [list(column) for column in zip(*rows, strict=True)])


def find_new(connection: Connection, account_id: str, *, now: datetime | None = None) -> list[NewAddresses]:
    """Return keys used from new addresses in the last 24 hours; keys first used in that time are left out."""
    since = (now or datetime.now(UTC)) - _NEW
    rows = connection.execute(_FIND, {"account_id": account_id, "since": since, "scanned_max": _SCANNED_MAX})
    return [NewAddresses(**row) for row in rows]


def prune(connection: Connection, *, now: datetime | None = None) -> None:
    """Delete addresses that have not been used for 90 days."""
    before = (now or datetime.now(UTC)) - _KEPT
    connection.execute("/* addresses.prune */ DELETE FROM key_address WHERE last_at < %s", (before,))


def _to_datetime(time_us: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_us)
