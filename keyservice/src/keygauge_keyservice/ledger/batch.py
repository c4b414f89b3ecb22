"""Parsing and validating many spool lines at once, in a quarter of the time that line by line takes."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import DecodeError
from msgspec.json import Decoder

from keygauge_keyservice.ledger.event import (
    KINDS_MAX,
    OUTCOMES,
    STREAMS,
    TEXT_LENGTH_MAX,
    USAGE_STATUSES,
    Event,
    Refusal,
    Window,
    read_line,
)

_decode = Decoder(list[Event]).decode  # validates types and ranges


def read_lines(lines: Sequence[bytes], *, window: Window) -> list[Event | Refusal]:
    """Parse and validate lines with the same results as `read_line`; never raise, whatever the input."""
    if lines and (events := _parse(lines)) is not None and _are_sound(events, window):
        return list(events)
    return [read_line(line, window=window) for line in lines]


def _parse(lines: Sequence[bytes]) -> list[Event] | None:
    """Parse lines as one JSON document; return None if any may be invalid or need the checks of `read_line`."""
    document = b"[%b]" % b",".join(lines)
    is_plain = max(map(len, lines)) <= TEXT_LENGTH_MAX and document.isascii()
    if not is_plain or b"\\" in document or b"\x7f" in document:
        return None
    # With exactly one pair of brackets per line, at its ends, no event can span lines.
    if not document.count(b"[") == document.count(b"]") == len(lines) + 1:
        return None
    if not all(line.startswith(b"[") and line.endswith(b"]") for line in lines):
        return None
    try:
        return _decode(document)
    except DecodeError:
        return None


def _are_sound(events: Sequence[Event], window: Window) -> bool:
    times = [event.time_us for event in events]
    return (
        OUTCOMES.issuperset({event.outcome for event in events})
        and USAGE_STATUSES.issuperset({event.usage_status for event in events})
        and STREAMS.issuperset({event.stream for event in events})
        and all(event.details is None or len(event.details) <= KINDS_MAX for event in events)
        and window.start_us <= min(times) <= max(times) < window.end_us
    )
