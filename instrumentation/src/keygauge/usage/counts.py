"""The normal form of token counts, and the conversion of values from a provider's JSON into it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from keygauge.kinds import PART_OF

MAX_TOKENS = 10**9  # per call; the ledger accepts no more
_MAX_DIGITS = 10


class Usage(NamedTuple):
    """Token counts of one call. None means "not reported", never 0.

    `input_tokens` includes cached ones, `output_tokens` includes reasoning; the next three are subsets of those two.
    `details` has the counts by kind (see `keygauge.kinds`); None if there are none.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    details: Mapping[str, int] | None = None

    def __add__(self, other: Usage) -> Usage:  # type: ignore[override]  # a sum of counts, not of tuples
        """Add count by count; unknown plus a number is that number."""
        counts, details = self[:5], self.details
        more, more_details = other[:5], other.details
        added = (a if b is None else b if a is None else a + b for a, b in zip(counts, more, strict=True))
        return Usage._make([*added, _add(details, more_details)])

    def beyond(self, other: Usage) -> Usage:
        """Return the counts in excess of another usage; None for counts that are not larger."""
        counts, details = self[:5], self.details or {}
        known, known_details = other[:5], other.details or {}
        more = (None if a is None or a <= (b or 0) else a - (b or 0) for a, b in zip(counts, known, strict=True))
        kinds = {kind: count - known_details.get(kind, 0) for kind, count in details.items()}
        return Usage._make([*more, {kind: count for kind, count in kinds.items() if count > 0} or None])

    def clipped(self) -> Usage:
        """Return a copy with counts capped at `MAX_TOKENS`."""
        counts, details = self[:5], self.details
        kept = details and {kind: min(count, MAX_TOKENS) for kind, count in details.items()}
        return Usage._make([*(None if count is None else min(count, MAX_TOKENS) for count in counts), kept])


def _add(details: Mapping[str, int] | None, more: Mapping[str, int] | None) -> Mapping[str, int] | None:
    if not details or not more:
        return details or more
    return {kind: details.get(kind, 0) + more.get(kind, 0) for kind in {**details, **more}}


UNREPORTED = Usage()


def whole(value: Any) -> int | None:
    """Parse a count as providers and gateways write it, including 12.0 and "12"; None if it is not a valid count."""
    is_digits = type(value) is str and len(value) <= _MAX_DIGITS and value.isascii() and value.isdigit()
    if is_digits or (type(value) is float and value.is_integer()):
        value = int(value)
    return value if type(value) is int and 0 <= value <= MAX_TOKENS else None


def fitted(usage: Usage) -> tuple[Usage, bool]:
    """Cap subsets at their totals, else the price of the rest would be negative; also return whether one was capped.

    A total that is not reported is at least the sum of its parts.
    """
    usage = _with_wholes(usage)
    given, made, read, written, reasoned, details = usage
    if given is not None:
        given = min(given, MAX_TOKENS)
        read = read and min(read, given)
        written = written and min(written, given - (read or 0))
    if made is not None:
        made = min(made, MAX_TOKENS)
        reasoned = reasoned and min(reasoned, made)
    rooms = {
        "input": max((given or 0) - (read or 0) - (written or 0), 0),
        "output": made or 0,
        "cache_read": read or 0,
        "cache_write": written or 0,
    }
    kept = details and {kind: count for kind, count in _take_room(details, rooms).items() if count}
    fit = Usage(given, made, read, written, reasoned, kept or None)
    return fit, fit[:5] != usage[:5] or (kept or {}) != {kind: n for kind, n in (details or {}).items() if n}


def _with_wholes(usage: Usage) -> Usage:
    given, made, read, written, reasoned, details = usage
    parts = {"input": 0, "output": 0, "cache_read": 0, "cache_write": 0}
    for kind, count in (details or {}).items():
        if part_of := PART_OF.get(kind):
            parts[part_of] += count
    read = read if read is not None else parts["cache_read"] or None
    written = written if written is not None else parts["cache_write"] or None
    if given is None:
        given = parts["input"] + (read or 0) + (written or 0) or None
    if made is None:
        made = max(parts["output"], reasoned or 0) or None
    return Usage(given, made, read, written, reasoned, details)


def _take_room(details: Mapping[str, int], rooms: dict[str, int]) -> dict[str, int]:
    taken = {}
    for kind, count in details.items():
        part_of = PART_OF.get(kind)
        if part_of is not None:
            taken[kind] = min(count, rooms[part_of])
            rooms[part_of] -= taken[kind]
        else:
            taken[kind] = count
    return taken
