"""Ingestion: each batch of a spool is written exactly once, in one transaction with all sums and the spool's cursor."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import NamedTuple

import psycopg
from psycopg.pq import TransactionStatus

from keygauge_keyservice.database import Connection
from keygauge_keyservice.ledger import addresses, aggregate, aside, kinds, model_names, partition, rollup, tags
from keygauge_keyservice.ledger.batch import read_lines
from keygauge_keyservice.ledger.copy import copied_events
from keygauge_keyservice.ledger.event import AGE_MAX, AHEAD_MAX, Event, Refusal, Window
from keygauge_keyservice.ledger.plausible import Bounds
from keygauge_keyservice.ledger.receipt import Receipt
from keygauge_keyservice.ledger.source import Source
from keygauge_keyservice.pricing.cost import Cost, Price

# How long a spool stays claimed by its sender after each batch; senders that have events send every second.
CLAIM = timedelta(seconds=3)
_REFUSALS_LOGGED_MAX = 5  # per batch
_MICROSECOND = timedelta(microseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_US = 86_400_000_000
_BOUNDS = Bounds()

_log = logging.getLogger(__name__)

_USE_KEYS = """/* key.use */
UPDATE key SET last_used_at = use.at, last_used_ip = use.ip, last_used_route = use.route
FROM unnest(%s::text[], %s::timestamptz[], %s::text[], %s::text[]) AS use (id, at, ip, route)
WHERE key.id = use.id AND (key.last_used_at IS NULL OR key.last_used_at < use.at)"""

_KEYS = """/* key.accounts */
SELECT id, account_id, service_key.key_id IS NOT NULL AS is_known
FROM key LEFT JOIN service_key ON service_key.key_id = key.id AND service_key.service = %s
WHERE id = ANY(%s)"""

_LOCK = """/* spool.lock */
INSERT INTO spool AS held (id, next, updated_at, owner) VALUES (%(spool)s, 0, clock_timestamp(), %(owner)s)
ON CONFLICT (id) DO UPDATE SET updated_at = clock_timestamp(), owner = coalesce(excluded.owner, held.owner)
WHERE excluded.owner IS NULL OR held.owner IS NULL OR held.owner = excluded.owner
    OR held.updated_at < clock_timestamp() - %(claim)s
RETURNING next"""
_MOVE = """/* spool.move */
WITH moved AS (UPDATE spool SET next = %s WHERE id = %s)
INSERT INTO spool_hour AS kept (spool_id, hour, requests, input_tokens, output_tokens, taken_at)
SELECT %s, to_timestamp(hour_s), requests, input_tokens, output_tokens, clock_timestamp()
FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[])
    AS batch (hour_s, requests, input_tokens, output_tokens)
ON CONFLICT (spool_id, hour) DO UPDATE SET
    requests = kept.requests + excluded.requests,
    input_tokens = kept.input_tokens + excluded.input_tokens,
    output_tokens = kept.output_tokens + excluded.output_tokens,
    taken_at = excluded.taken_at"""


# Errors caused by a value, so that retrying is useless. ProgramLimitExceeded: a name may be too long for an index.
_UNSTORABLE = (psycopg.DataError, psycopg.IntegrityError, psycopg.errors.ProgramLimitExceeded)


class LedgerError(RuntimeError):
    """A batch cannot be ingested."""


class SpoolClaimedError(LedgerError):
    """Another process is sending this spool; if both numbered their own events, some would be lost as duplicates."""


class _Sender(NamedTuple):
    """A spool with what is known of its sender; without a source the events are internal, and any key is allowed."""

    spool: str
    owner: str | None = None
    oldest: int | None = None
    source: Source | None = None


def take_batch(
    connection: Connection,
    spool: str,
    first: int,
    lines: Sequence[bytes],
    price: Price,
    *,
    owner: str | None = None,
    oldest: int | None = None,
    service: str | None = None,
    bounds: Bounds = _BOUNDS,
    now: datetime | None = None,
) -> Receipt:
    """Ingest the lines of a spool that are not yet in the ledger; repeating a batch has no effect.

    `service` is the service whose token was used: events that it may not report, and lines that cannot be read, are set
    aside. `owner` is the sender, if known. `oldest` is the number of the first event that the sender still has: if the
    ledger lacks some of those, because it was restored from a backup, nothing is ingested and the receipt's `next` says
    where to resume. The connection must not be in a transaction: everything is committed on return.

    Raises:
        SpoolClaimedError: another owner sent this spool within the last seconds; nothing is ingested.
    """
    now = now or datetime.now(UTC)
    window = Window(_to_us(now - AGE_MAX), _to_us(now + AHEAD_MAX))
    read = read_lines(lines, window=window)
    source = None if service is None else Source(service, first, lines, bounds)
    receipt = _take_parts(connection, _Sender(spool, owner, oldest, source), first, read, price)
    if receipt.refused:
        _log.warning("spool %s: %d events refused, first %s", spool, len(receipt.refused), _first_refusals(receipt))
    return receipt


def take_events(
    connection: Connection, spool: str, first: int, read: Sequence[Event | Refusal], price: Price
) -> Receipt:
    """Ingest internal events; `read[i]` has the number `first + i` in its spool."""
    return _take_parts(connection, _Sender(spool), first, read, price)


def _take_parts(
    connection: Connection, sender: _Sender, first: int, read: Sequence[Event | Refusal], price: Price
) -> Receipt:
    """Ingest events in halves where PostgreSQL cannot store one, so that only that event is refused.

    Raises:
        LedgerError: the connection is in a transaction, so nothing would be durable on return.
    """
    if connection.info.transaction_status != TransactionStatus.IDLE:
        raise LedgerError("the connection is in a transaction: a batch is acknowledged only when it is committed")
    try:
        return _take(connection, sender, first, read, price)
    except _UNSTORABLE as error:
        if not read:
            raise
        if len(read) == 1:
            _log.warning("spool %s: event %d cannot be stored: %s", sender.spool, first, type(error).__name__)
            return _take(connection, sender, first, [Refusal.UNSTORABLE], price)
    middle = len(read) // 2
    before = _take_parts(connection, sender, first, read[:middle], price)
    if before.next < first:
        return before
    return before.plus(_take_parts(connection, sender, first + middle, read[middle:], price))


def retake(
    connection: Connection, ids: Sequence[int], price: Price, *, now: datetime, bounds: Bounds | None = None
) -> int:
    """Ingest events that were set aside, and return how many; those that are refused again stay set aside.

    Without bounds, any usage is plausible. An event that PostgreSQL cannot store stays set aside as such.
    """
    try:
        return _retake(connection, ids, price, now=now, bounds=bounds)
    except _UNSTORABLE:
        if len(ids) == 1:
            aside.refuse(connection, ids[0], Refusal.UNSTORABLE)
            return 0
    middle = len(ids) // 2
    return sum(retake(connection, half, price, now=now, bounds=bounds) for half in (ids[:middle], ids[middle:]))


def _retake(connection: Connection, ids: Sequence[int], price: Price, *, now: datetime, bounds: Bounds | None) -> int:
    window = Window(_to_us(now - AGE_MAX), _to_us(now + AHEAD_MAX))
    taken = 0
    with connection.transaction():
        for spool, group in groupby(aside.drop(connection, ids), key=lambda row: str(row["spool_id"])):
            rows = list(group)
            read = read_lines([row["line"] for row in rows], window=window)
            prepared = _prepare(connection, read, None)
            checked = [_check_key(entry, prepared.accounts) for entry in read]
            if bounds is not None:
                checked = list(bounds.check(checked))
            for row, entry in zip(rows, checked, strict=True):
                if isinstance(entry, Refusal):
                    aside.put_back(connection, row, entry)
            fresh = [
                (row["number"], entry) for row, entry in zip(rows, checked, strict=True) if isinstance(entry, Event)
            ]
            end = find_cursor(connection, spool)
            _write(connection, spool, fresh, price, end=end, names=prepared.names)
            taken += len(fresh)
    return taken


def _take(
    connection: Connection, sender: _Sender, first: int, read: Sequence[Event | Refusal], price: Price
) -> Receipt:
    """Ingest events in one transaction."""
    spool, owner, oldest, source = sender
    prepared = _prepare(connection, read, source.service if source else None)
    checked = [_check_key(entry, prepared.accounts) for entry in read]
    if source is not None:
        checked = source.check(checked, prepared.presented)
    with connection.transaction():
        cursor = _lock_cursor(connection, spool, owner)
        if oldest is not None and max(cursor, oldest) < first:
            return Receipt(next=max(cursor, oldest), accepted=0, refused=(), duplicates=0, missing=0, newest_us=None)
        numbered = enumerate(checked, first)
        fresh = [(number, entry) for number, entry in numbered if number >= cursor and isinstance(entry, Event)]
        end = max(cursor, first + len(read))
        _write(connection, spool, fresh, price, end=end, names=prepared.names)
        refused = [
            (number, entry)
            for number, entry in enumerate(checked, first)
            if isinstance(entry, Refusal) and number >= cursor
        ]
        if source is not None:
            aside.keep(
                connection,
                spool,
                source.service,
                [source.refused(number, refusal, read[number - first]) for number, refusal in refused],
            )
    return Receipt(
        next=end,
        accepted=len(fresh),
        refused=tuple(refused),
        duplicates=min(max(cursor - first, 0), len(read)),
        missing=max(first - cursor, 0),
        newest_us=max((event.time_us for _, event in fresh), default=None),
    )


def find_cursor(connection: Connection, spool: str) -> int:
    """Return the number of the first event of a spool that is not yet in the ledger."""
    row = connection.execute("/* spool.find */ SELECT next FROM spool WHERE id = %s", (spool,)).fetchone()
    return row["next"] if row else 0


class Prepared(NamedTuple):
    """What the ledger already has of a batch's events."""

    accounts: dict[str, str]  # of each key; they never change
    presented: set[str]  # the keys that the service has looked up
    names: set[model_names.Name]  # models that have sums of their own


def _prepare(connection: Connection, read: Sequence[Event | Refusal], service: str | None) -> Prepared:
    """Look up what is known, and create missing partitions for the events' months, before the transaction."""
    events = [entry for entry in read if isinstance(entry, Event)]
    days = {event.time_us // _DAY_US for event in events}
    months = {partition.month_of(_to_datetime(day * _DAY_US)) for day in days}
    keys = list({event.key for event in events})
    with connection.pipeline(), connection.transaction():  # one round trip for all
        found = connection.execute(_KEYS, (service, keys))
        names = model_names.find(connection, model_names.names_of(events))
        present = connection.execute(partition.PRESENT)
    if months - partition.months_of(present):
        partition.ensure(connection, months)
    rows = found.fetchall()
    return Prepared(
        accounts={row["id"]: row["account_id"] for row in rows},
        presented={row["id"] for row in rows if row["is_known"]},
        names=model_names.read(names),
    )


def _write(
    connection: Connection,
    spool: str,
    fresh: Sequence[tuple[int, Event]],
    price: Price,
    *,
    end: int,
    names: set[model_names.Name],
) -> None:
    """Write events and all sums, and move their spool's cursor to `end`."""
    events = [event for _, event in fresh]
    group_of = model_names.grouping(connection, events, names)
    sums, tagged = rollup.Sums(group_of), rollup.Sums(tags.group_of_tag)
    with copied_events(connection, spool, _priced(fresh, price, sums, tagged)):
        usage_aggregates = aggregate.columns(sums.groups)
    with connection.pipeline():  # one round trip for all
        rollup.write(connection, sums.groups)
        aggregate.write(connection, usage_aggregates)
        kinds.write(connection, events, group_of)
        _use_keys(connection, events)
        addresses.note(connection, events)
        _move_cursor(connection, spool, end, sums)
    tags.write(connection, tagged.groups)


def _check_key(entry: Event | Refusal, accounts: dict[str, str]) -> Event | Refusal:
    if isinstance(entry, Event) and accounts.get(entry.key) != entry.account:
        return Refusal.UNKNOWN_KEY
    return entry


def _priced(
    events: Iterable[tuple[int, Event]], price: Price, sums: rollup.Sums, tagged: rollup.Sums
) -> Iterator[tuple[int, Event, Cost | None]]:
    """Price and add up events one by one, while PostgreSQL processes earlier ones."""
    for number, event in events:
        cost = price(event)
        sums.add(event, cost)
        if event.tag is not None:
            tagged.add(event, cost)
        yield number, event, cost


def _lock_cursor(connection: Connection, spool: str, owner: str | None) -> int:
    """Lock a spool's cursor until the end of the transaction, so that its batches are ingested one at a time."""
    row = connection.execute(_LOCK, {"spool": spool, "owner": owner, "claim": CLAIM}).fetchone()
    if row is None:
        raise SpoolClaimedError(f"another process sent spool {spool} within the last {CLAIM.seconds} s")
    return int(row["next"])


def _move_cursor(connection: Connection, spool: str, end: int, sums: rollup.Sums) -> None:
    """Move the cursor, and add the batch's sums to the spool's hours, which are compared with the replica's reports."""
    columns = [list(column) for column in zip(*sums.by_hour(), strict=True)] or [[], [], [], []]
    connection.execute(_MOVE, (end, spool, spool, *columns))


def _use_keys(connection: Connection, events: Iterable[Event]) -> None:
    """Record each key's last use; rows are locked in sorted order so that concurrent batches cannot deadlock."""
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
