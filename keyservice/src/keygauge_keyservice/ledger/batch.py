"""Many lines of spools, read and checked at once: by the parser, in a quarter of the time of line by line."""

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

_decode = Decoder(list[Event]).decode  # it checks types and numbers


def read_lines(lines: Sequence[bytes], *, window: Window) -> list[Event | Refusal]:
    """Read and check lines as `read_line` does each of them; whatever they hold, nothing is raised."""
    if lines and (events := _parse(lines)) is not None and _are_sound(events, window):
        return list(events)
    return [read_line(line, window=window) for line in lines]


def _parse(lines: Sequence[bytes]) -> list[Event] | None:
    """Parse lines as one document; None where one of them may not be what it seems, or not be sound."""
    document = b"[%b]" % b",".join(lines)
    is_plain = max(map(len, lines)) <= TEXT_LENGTH_MAX and document.isascii()
    if not is_plain or b"\\" in document or b"\x7f" in document:
        return None
    # With one pair of brackets each, at its ends, no line can end within another.
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
