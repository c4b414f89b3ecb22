"""Events set aside: refused by the ledger and kept, with the reason, until an operator decides about them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from keygauge_keyservice.database import Connection
from keygauge_keyservice.ledger.event import LINE_BYTES_MAX, Event, Refusal

MOST = 20_000  # events per service; any more are only counted in the log
RETAKEN_MAX = 1_000  # per batch

_log = logging.getLogger(__name__)

_KEEP = """/* aside.keep */
INSERT INTO event_aside (spool_id, number, service, reason, key_id, line)
SELECT %s, number, %s, reason, key_id, line
FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::bytea[]) AS refused (number, reason, key_id, line)
LIMIT greatest(%s - (SELECT count(*) FROM event_aside WHERE service = %s), 0)"""

Refused = tuple[int, Refusal, str | None, bytes]  # number in the spool, reason, key, line


def keep(connection: Connection, spool: str, service: str, refused: Sequence[Refused]) -> None:
    """Set events aside; call this in the transaction that moves their spool's cursor past them."""
    if not refused:
        return
    numbers, reasons, keys, lines = zip(*refused, strict=True)
    values = (list(numbers), [str(reason) for reason in reasons], list(keys), [_cut(line) for line in lines])
    kept = connection.execute(_KEEP, (spool, service, *values, MOST, service)).rowcount
    if kept < len(refused):
        _log.error("spool %s: %d refused events were not kept: %d are set aside", spool, len(refused) - kept, MOST)


def count(connection: Connection) -> list[dict[str, Any]]:
    """Return the number of events set aside per service, key and reason."""
    return connection.execute(
        "/* aside.count */ SELECT service, reason, key_id, count(*) AS events, min(at) AS first_at, max(at) AS last_at "
        "FROM event_aside GROUP BY service, reason, key_id ORDER BY service, reason, key_id"
    ).fetchall()


def find(connection: Connection, *, service: str, reason: str) -> list[int]:
    """Return the ids of the events of a service that were set aside for a reason, oldest first."""
    rows = connection.execute(
        "/* aside.find */ SELECT id FROM event_aside WHERE service = %s AND reason = %s ORDER BY id", (service, reason)
    )
    return [row["id"] for row in rows]


def find_now_known(connection: Connection) -> list[int]:
    """Return the ids of events that were set aside because their service did not know the key, and now does."""
    rows = connection.execute(
        "/* aside.find_now_known */ SELECT id FROM event_aside JOIN service_key USING (service, key_id) "
        "WHERE reason = %s ORDER BY id LIMIT %s",
        (Refusal.KEY_NOT_LOOKED_UP, RETAKEN_MAX),
    )
    return [row["id"] for row in rows]


def batches(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    """Split ids into batches of `RETAKEN_MAX`."""
    return (ids[start : start + RETAKEN_MAX] for start in range(0, len(ids), RETAKEN_MAX))


def drop(connection: Connection, ids: Iterable[int]) -> list[dict[str, Any]]:
    """Delete events and return them, ordered by spool and number."""
    rows = connection.execute(
        "/* aside.drop */ DELETE FROM event_aside WHERE id = ANY(%s) "
        "RETURNING id, at, spool_id, number, service, key_id, line",
        (list(ids),),
    ).fetchall()
    return sorted(rows, key=lambda row: (row["spool_id"], row["number"]))


def put_back(connection: Connection, row: dict[str, Any], refusal: Refusal) -> None:
    """Set an event aside again, with a new reason."""
    connection.execute(
        "/* aside.put_back */ INSERT INTO event_aside (at, spool_id, number, service, reason, key_id, line) "
        "VALUES (%s, %s, %s, %s, %s, %s, %s)",
        (row["at"], row["spool_id"], row["number"], row["service"], refusal, row["key_id"], row["line"]),
    )


def refuse(connection: Connection, event_id: int, refusal: Refusal) -> None:
    """Change the reason why an event is set aside."""
    connection.execute("/* aside.refuse */ UPDATE event_aside SET reason = %s WHERE id = %s", (refusal, event_id))


def key_of(entry: Event | Refusal) -> str | None:
    """Return the key of an event; None if the line could not be read."""
    return entry.key if isinstance(entry, Event) else None


def _cut(line: bytes) -> bytes:
    return line[: LINE_BYTES_MAX + 1]  # a line that was too long is still too long
