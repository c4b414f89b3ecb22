"""Writing events with COPY as CSV: a spool line, which is a JSON array, is valid CSV without its brackets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from itertools import islice

from msgspec.json import Encoder

from keygauge_keyservice.database import Connection
from keygauge_keyservice.ledger.event import Event
from keygauge_keyservice.pricing.cost import Cost

# Without control characters, which `event.read_line` refuses, JSON escapes only quotation marks and backslashes.
_COPY = r"""/* event.copy */
COPY event (
    id, time, account_id, key_id, route, method, status, error, ip, duration_us, first_token_us,
    request_bytes, response_bytes, stream, messages, model, provider,
    input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens, usage_status,
    outcome, limit_name, trace_id, details, requested_model, tag, cost_nanousd, price_version, kind_costs
) FROM STDIN (FORMAT csv, NULL 'null', ESCAPE '\', ENCODING 'UTF8')"""
_encode = Encoder().encode
_ROWS = 200  # per chunk, so that PostgreSQL processes the first rows while later ones are being encoded
_UNPRICED = (None, None, None)
_SECOND_US = 1_000_000
_DETAILS = Event._fields.index("details")
_VARIANT = 0b10 << 62
_BELOW_VARIANT = (1 << 62) - 1


@contextmanager
def copied_events(
    connection: Connection, spool: str, events: Iterable[tuple[int, Event, Cost | None]]
) -> Iterator[None]:
    """Write numbered events with their costs. They are in the table when the `with` block ends.

    The block runs while PostgreSQL is still processing the rows.
    """
    with connection.cursor() as cursor, cursor.copy(_COPY) as copy:
        rows = (_row(spool, number, event, cost) for number, event, cost in events)
        while piece := b"".join(islice(rows, _ROWS)):
            copy.write(piece)
        yield


def event_id(spool: str, number: int, time_us: int) -> str:
    """Return an event's id as hexadecimal digits: a UUIDv7 that is the same each time the event is sent."""
    version, start = _identity(spool)
    return f"{time_us // 1000:012x}{version}{_VARIANT | (start + number) & _BELOW_VARIANT:016x}"


def _row(spool: str, number: int, event: Event, cost: Cost | None) -> bytes:
    time_us = event.time_us
    made = event_id(spool, number, time_us)
    time = f"{_second(time_us // _SECOND_US)}.{time_us % _SECOND_US:06d}+00"
    details = event.details and _encode(event.details).decode()
    priced = (*cost[:2], cost.kind_costs or None) if cost else _UNPRICED
    return _encode((made, time, *event[1:_DETAILS], details, *event[_DETAILS + 1 :], *priced))[1:-1] + b"\n"


@lru_cache(maxsize=4096)
def _identity(spool: str) -> tuple[str, int]:
    """Return a spool's 74 pseudo-random bits: 12 after the UUID's version, and 62 to which event numbers are added."""
    digits = sha256(spool.encode()).hexdigest()
    return f"7{digits[:3]}", int(digits[3:19], 16)


@lru_cache(maxsize=4096)
def _second(time_s: int) -> str:
    return f"{datetime.fromtimestamp(time_s, UTC):%Y-%m-%d %H:%M:%S}"
