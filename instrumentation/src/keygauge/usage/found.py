"""The counts in a provider's document, not yet validated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from keygauge.usage.counts import whole

Stage = Literal[
    "opening",  # start of a stream: the output is still to come, so these counts are never complete
    "running",  # counts so far; complete if the stream then ends normally
    "final",  # complete
]
NO_DETAILS: Mapping[str, Any] = {}


class RawUsage(NamedTuple):
    """Counts of one document, as any JSON values. None means "not reported"."""

    input: Any = None
    output: Any = None
    cache_read: Any = None
    cache_write: Any = None
    reasoning: Any = None
    tool_input: Any = None  # not included in `input`
    total: Any = None
    details: Mapping[str, Any] = NO_DETAILS
    is_spoiled: bool = False  # a value that should have been added is not a valid count


class Found(NamedTuple):
    """The counts of one document and how they relate to each other."""

    raw: RawUsage
    provider: str | None
    model: str | None
    stage: Stage = "running"
    cache_is_beside: bool = False  # `input` excludes cache reads and writes
    reasoning_is_beside: bool = False  # `output` excludes reasoning
    answer: str | None = None  # the answer's id
    others: Sequence[tuple[str, RawUsage]] = ()  # names and counts of other models that took part
    choice: int | None = None  # the index of the only choice
    trails: bool = False  # a chunk with usage only, after all choices
    replaces: bool = False  # counts of a new attempt; the earlier one is in `others` if it is billed


def inside(holder: Any, *names: str) -> Mapping[str, Any]:
    """Return the first member that is an object, of those with the given names; else an empty mapping."""
    if isinstance(holder, dict):
        for name in names:
            value = holder.get(name)
            if isinstance(value, dict):
                return value
    return NO_DETAILS


def first(holder: Mapping[str, Any], *names: str) -> Any:
    """Return the first value that is not None, of those with the given names."""
    for name in names:
        value = holder.get(name)
        if value is not None:
            return value
    return None


def less(all_counted: Any, part: Any) -> Any:
    """Subtract a part from a count; return the count unchanged if the two do not fit."""
    count, without = whole(all_counted), whole(part)
    return count - without if count is not None and without is not None and without <= count else all_counted


def total(counts: Iterable[Any]) -> Any:
    """Return the sum of counts, or the first invalid one, so that it is reported later."""
    added = 0
    for value in counts:
        count = 0 if value is None else whole(value)
        if count is None:
            return value
        added += count
    return added


def add(count: Any, more: Any) -> tuple[Any, bool]:
    """Add to a count; also return whether the values could not be added."""
    added = whole(more)
    is_spoiled = (added is None and more is not None) or (bool(added) and count is not None and whole(count) is None)
    return ((whole(count) or 0) + added if added else count), is_spoiled


def rounded_up(seconds: Any) -> Any:
    """Return the number of seconds begun, of a number or its text; other values unchanged."""
    if isinstance(seconds, str):
        try:
            seconds = float(seconds)
        except ValueError:
            return seconds
    return -int(-seconds // 1) if isinstance(seconds, int | float) and 0 <= seconds < 1e9 else seconds  # noqa: PLR2004


def together(found: Sequence[Found]) -> Found:
    """Add up the parts of a batch into one answer."""
    first, *others = found
    counts, is_spoiled = list(first.raw[:5]), False
    for one in others:
        sums = list(map(add, counts, one.raw[:5]))
        counts = [count for count, _ in sums]
        is_spoiled = is_spoiled or any(is_bad for _, is_bad in sums)
    is_final = all(one.stage == "final" for one in found)
    raw = RawUsage(*counts)._replace(is_spoiled=is_spoiled)
    return first._replace(raw=raw, stage="final" if is_final else "running", answer=None)


def by_kind(counts: Mapping[str, Any], kinds: Mapping[str, str], other: str) -> dict[str, Any]:
    """Add up counts by name to counts by kind; `other` is the kind of unknown names."""
    parts: dict[str, list[Any]] = {}
    for name, value in counts.items():
        parts.setdefault(kinds.get(name, other), []).append(value)
    return {kind: count for kind, values in parts.items() if (count := total(values)) != 0}
