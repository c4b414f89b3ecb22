"""Write events into their table by binary COPY, the fastest way PostgreSQL has."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from struct import Struct

from psycopg import postgres, pq
from psycopg.abc import Buffer
from psycopg.adapt import Dumper

from keygauge_keyservice.database import Connection
from keygauge_keyservice.event_line import Event
from keygauge_keyservice.pricing import Cost

_COPY = """/* event.copy */
COPY event (
    id, time, account_id, key_id, route, method, status, error, ip, duration_us, first_token_us,
    request_bytes, response_bytes, stream, messages, model, provider,
    input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens, usage_status,
    cost_nanousd, price_version, outcome, limit_name, trace_id
) FROM STDIN (FORMAT BINARY)"""
_TYPES = (
    *("uuid", "timestamptz", "text", "text", "text", "text", "int2", "text", "text", "int8", "int8"),
    *("int8", "int8", "text", "int8", "text", "text"),
    *("int8", "int8", "int8", "int8", "int8", "text"),
    *("int8", "text", "text", "text", "text"),
)
_BEFORE_COST = Event._fields.index("usage_status") + 1
_UNPRICED = (None, None)
_PG_EPOCH_US = 946_684_800_000_000  # 2000-01-01 UTC
_pack_int8 = Struct("!q").pack
_UUID_7 = 0x7 << 76 | 0x2 << 62  # version and variant
_UUID_RANDOM = (1 << 128) - 1 ^ 0xF << 76 ^ 0x3 << 62  # the rest


class _Id(Dumper):
    """The 16 bytes of a UUID, with no `UUID` made of them on the way: it would cost more than the rest of the row."""

    format = pq.Format.BINARY
    oid = postgres.types["uuid"].oid

    def dump(self, obj: bytes) -> Buffer:
        return obj


class _Time(Dumper):
    """Microseconds since 1970 UTC as a timestamp, with no `datetime` made of them on the way."""

    format = pq.Format.BINARY
    oid = postgres.types["timestamptz"].oid

    def dump(self, obj: int) -> Buffer:
        return _pack_int8(obj - _PG_EPOCH_US)


def copy_events(connection: Connection, spool: str, events: Iterable[tuple[int, Event, Cost | None]]) -> None:
    """Write events with their numbers in their spool and their costs."""
    with connection.cursor() as cursor:
        cursor.adapters.register_dumper(bytes, _Id)
        cursor.adapters.register_dumper(int, _Time)
        with cursor.copy(_COPY) as copy:
            copy.set_types(_TYPES)
            write = copy.write_row
            for number, event, cost in events:
                time_us = event.time_us
                made = event_id(spool, number, time_us)
                write((made, time_us, *event[1:_BEFORE_COST], *(cost or _UNPRICED), *event[_BEFORE_COST:]))


def event_id(spool: str, number: int, time_us: int) -> bytes:
    """Make the bytes of an event's id: a UUID of version 7 that is the same however often the event is sent."""
    digest = sha256(f"{spool}:{number}".encode()).digest()
    made = int.from_bytes((time_us // 1000).to_bytes(6) + digest[:10])
    return (made & _UUID_RANDOM | _UUID_7).to_bytes(16)
