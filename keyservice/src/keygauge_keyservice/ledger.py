"""The usage ledger: batches of a spool, each taken once, in one transaction with the roll-ups and the cursor."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from uuid import UUID

from psycopg.pq import TransactionStatus

from keygauge_keyservice import partition, rollup
from keygauge_keyservice.database import Connection
from keygauge_keyservice.event_line import Event, Refusal, Window, read_line
from keygauge_keyservice.pricing import Cost, Price

RETENTION = timedelta(days=400)  # of single events; the roll-ups stay
_AHEAD = timedelta(days=1)  # how far a sender's clock may be ahead
_REFUSALS_LOGGED_MAX = 5  # of one batch
_MICROSECOND = timedelta(microseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_US = 86_400_000_000
_UUID_7 = 0x7 << 76 | 0x2 << 62  # version and variant
_UUID_RANDOM = (1 << 128) - 1 ^ 0xF << 76 ^ 0x3 << 62  # the rest

_log = logging.getLogger(__name__)

_COPY = """/* event.copy */
COPY event (
    id, time, account_id, key_id, route, method, status, error, ip, duration_us, first_token_us,
    request_bytes, response_bytes, stream, messages, model, provider,
    input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens, usage_status,
    cost_nanousd, price_version, outcome, limit_name, trace_id
) FROM STDIN (FORMAT BINARY)"""
_COPY_TYPES = (
    *("uuid", "timestamptz", "text", "text", "text", "text", "int2", "text", "text", "int8", "int8"),
    *("int8", "int8", "text", "int8", "text", "text"),
    *("int8", "int8", "int8", "int8", "int8", "text"),
    *("int8", "text", "text", "text", "text"),
)
_FIELDS_BEFORE_COST = Event._fields.index("usage_status") + 1

_USE_KEYS = """/* key.use */
UPDATE key SET last_used_at = use.at, last_used_ip = use.ip, last_used_route = use.route
FROM unnest(%s::text[], %s::timestamptz[], %s::text[], %s::text[]) AS use (id, at, ip, route)
WHERE key.id = use.id AND (key.last_used_at IS NULL OR key.last_used_at < use.at)"""


class LedgerError(RuntimeError):
    """A batch cannot be taken as asked."""


@dataclass(frozen=True)
class Receipt:
    """What became of a batch: everything below `next` is settled."""

    next: int
    accepted: int
    refused: tuple[tuple[int, Refusal], ...]  # number in the spool, why
    duplicates: int  # lines below the cursor: taken before
    missing: int  # numbers between the cursor and the first line: dropped by the sender
    newest_us: int | None  # time of the newest event taken


def take_batch(
    connection: Connection,
    spool: str,
    first: int,
    lines: Sequence[bytes],
    price: Price,
    *,
    now: datetime | None = None,
) -> Receipt:
    """Take the lines of a spool that are not yet in the ledger; the same batch again changes nothing.

    The connection must be outside of any transaction: when this returns, all is committed.
    """
    now = now or datetime.now(UTC)
    window = Window(_to_us(now - RETENTION), _to_us(now + _AHEAD))
    read = [read_line(line, window=window) for line in lines]
    receipt = take_events(connection, spool, first, read, price)
    if receipt.refused:
        _log.warning("spool %s: %d events refused, first %s", spool, len(receipt.refused), _first_refusals(receipt))
    return receipt


def take_events(
    connection: Connection, spool: str, first: int, read: Sequence[Event | Refusal], price: Price
) -> Receipt:
    """Take events that are checked but for their keys; `read[i]` has the number `first + i` in its spool.

    Raises:
        LedgerError: the connection is in a transaction, so nothing would be durable on return.
    """
    if connection.info.transaction_status != TransactionStatus.IDLE:
        raise LedgerError("the connection is in a transaction: a batch is acknowledged only when it is committed")
    accounts = _find_accounts(connection, read)
    checked = [_check_key(entry, accounts) for entry in read]
    taken = [(number, entry) for number, entry in enumerate(checked, first) if isinstance(entry, Event)]
    days = {event.time_us // _DAY_US for _, event in taken}
    partition.ensure(connection, {partition.month_of(_to_datetime(day * _DAY_US)) for day in days})
    with connection.transaction():
        cursor = _lock_cursor(connection, spool)
        fresh = [(number, event, price(event)) for number, event in taken if number >= cursor]
        _copy(connection, spool, fresh)
        rollup.add(connection, rollup.add_up((event, cost) for _, event, cost in fresh))
        _use_keys(connection, [event for _, event, _ in fresh])
        end = max(cursor, first + len(read))
        _move_cursor(connection, spool, end)
    refused = ((number, entry) for number, entry in enumerate(checked, first) if isinstance(entry, Refusal))
    return Receipt(
        next=end,
        accepted=len(fresh),
        refused=tuple((number, refusal) for number, refusal in refused if number >= cursor),
        duplicates=min(max(cursor - first, 0), len(read)),
        missing=max(first - cursor, 0),
        newest_us=max((event.time_us for _, event, _ in fresh), default=None),
    )


def find_cursor(connection: Connection, spool: str) -> int:
    """Return the number of the first event of a spool that is not yet in the ledger."""
    row = connection.execute("/* spool.find */ SELECT next FROM spool WHERE id = %s", (spool,)).fetchone()
    return row["next"] if row else 0


def event_id(spool: str, number: int, time_us: int) -> UUID:
    """Make an event's id, a UUID of version 7 that is the same however often the event is sent."""
    digest = sha256(b"%s:%d" % (spool.encode(), number)).digest()
    made = int.from_bytes((time_us // 1000).to_bytes(6) + digest[:10])
    return UUID(int=made & _UUID_RANDOM | _UUID_7)


def _find_accounts(connection: Connection, read: Iterable[Event | Refusal]) -> dict[str, str]:
    """Return each key's account; that never changes, so it is read before the transaction."""
    keys = list({entry.key for entry in read if isinstance(entry, Event)})
    with connection.transaction():
        rows = connection.execute("/* key.accounts */ SELECT id, account_id FROM key WHERE id = ANY(%s)", (keys,))
        return {row["id"]: row["account_id"] for row in rows}


def _check_key(entry: Event | Refusal, accounts: dict[str, str]) -> Event | Refusal:
    if isinstance(entry, Event) and accounts.get(entry.key) != entry.account:
        return Refusal.UNKNOWN_KEY
    return entry


def _lock_cursor(connection: Connection, spool: str) -> int:
    """Lock a spool's cursor until the transaction's end: its batches are taken one after the other."""
    row = connection.execute(
        "/* spool.lock */ INSERT INTO spool (id, next, updated_at) VALUES (%s, 0, now()) "
        "ON CONFLICT (id) DO UPDATE SET updated_at = now() RETURNING next",
        (spool,),
    ).fetchone()
    return row["next"] if row else 0


def _move_cursor(connection: Connection, spool: str, end: int) -> None:
    connection.execute("/* spool.move */ UPDATE spool SET next = %s WHERE id = %s", (end, spool))


def _copy(connection: Connection, spool: str, events: Sequence[tuple[int, Event, Cost | None]]) -> None:
    unpriced = (None, None)
    with connection.cursor() as cursor, cursor.copy(_COPY) as copy:
        copy.set_types(_COPY_TYPES)
        for number, event, cost in events:
            copy.write_row(
                (
                    event_id(spool, number, event.time_us),
                    _to_datetime(event.time_us),
                    *event[1:_FIELDS_BEFORE_COST],
                    *(cost or unpriced),
                    *event[_FIELDS_BEFORE_COST:],
                )
            )


def _use_keys(connection: Connection, events: Iterable[Event]) -> None:
    """Note each key's last use; their rows are locked in order, so that batches never wait for each other in a ring."""
    newest: dict[str, Event] = {}
    for event in events:
        if event.key not in newest or newest[event.key].time_us < event.time_us:
            newest[event.key] = event
    keys = list(newest)
    connection.execute("/* key.lock */ SELECT id FROM key WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE", (keys,))
    uses = [(key, _to_datetime(event.time_us), event.ip, event.route) for key, event in newest.items()]
    connection.execute(_USE_KEYS, [list(column) for column in zip(*uses, strict=True)] or [[], [], [], []])


def _first_refusals(receipt: Receipt) -> str:
    return ", ".join(f"{number} {refusal}" for number, refusal in receipt.refused[:_REFUSALS_LOGGED_MAX])


def _to_us(time: datetime) -> int:
    return (time - _EPOCH) // _MICROSECOND


def _to_datetime(time_us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=time_us)
