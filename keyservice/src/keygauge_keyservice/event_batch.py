"""Many lines of spools, read and checked at once: column by column, in less than half the time of line by line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import DecodeError
from msgspec.json import decode

from keygauge_keyservice.event_line import (
    COUNT_MAX,
    FIELD_TYPES,
    OUTCOMES,
    STATUS_MAX,
    STATUS_MIN,
    STREAMS,
    TEXT_LENGTH_MAX,
    TOKENS_MAX,
    USAGE_STATUSES,
    Event,
    Refusal,
    Window,
    read_line,
)

_CHOICES = (("outcome", OUTCOMES), ("usage_status", USAGE_STATUSES), ("stream", STREAMS))
_COUNTS = ("duration_us", "first_token_us", "request_bytes", "response_bytes", "messages")
_TOKENS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens")


def read_lines(lines: Sequence[bytes], *, window: Window) -> list[Event | Refusal]:
    """Read and check lines as `read_line` does each of them; whatever they hold, nothing is raised."""
    if lines and (rows := _parse(lines)) is not None and _are_sound(rows, window):
        return list(map(Event._make, rows))
    return [read_line(line, window=window) for line in lines]


def _parse(lines: Sequence[bytes]) -> list[Any] | None:
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
        rows: list[Any] = decode(document)
    except DecodeError:
        return None
    return rows if set(map(len, rows)) == {len(FIELD_TYPES)} else None


def _are_sound(rows: Sequence[Any], window: Window) -> bool:
    columns = dict(zip(Event._fields, zip(*rows, strict=True), strict=True))
    if not all(
        types.issuperset(map(type, column)) for column, types in zip(columns.values(), FIELD_TYPES, strict=True)
    ):
        return False
    return (
        all(choices.issuperset(columns[name]) for name, choices in _CHOICES)
        and _lies_within(columns["status"], STATUS_MIN, STATUS_MAX)
        and _lies_within(columns["time_us"], window.start_us, window.end_us - 1)
        and all(_lies_within(columns[name], 0, COUNT_MAX) for name in _COUNTS)
        and all(_lies_within(columns[name], 0, TOKENS_MAX) for name in _TOKENS)
    )


def _lies_within(column: Sequence[Any], least: int, most: int) -> bool:
    """Tell whether all numbers of a column that are there lie between two bounds, these included."""
    known = [number for number in column if number is not None] if None in column else column
    return not known or (min(known) >= least and max(known) <= most)
