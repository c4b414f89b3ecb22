"""What a provider's document tells: counts as they stand there, not yet checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from keygauge.usage.counts import whole

Stage = Literal[
    "opening",  # of a stream: the output is still to come, so these counts alone are never all
    "running",  # so far; all, if the stream then ends as it should
    "final",  # nothing more will come
]
NO_DETAILS: Mapping[str, Any] = {}


class RawUsage(NamedTuple):
    """Counts of one document, whatever its JSON holds there. None is "not told"."""

    input: Any = None
    output: Any = None
    cache_read: Any = None
    cache_write: Any = None
    reasoning: Any = None
    tool_input: Any = None  # beside `input`
    total: Any = None
    details: Mapping[str, Any] = NO_DETAILS
    is_spoiled: bool = False  # something that should have been added to a count is none


class Found(NamedTuple):
    """The counts of one document and how they relate to each other."""

    raw: RawUsage
    provider: str | None
    model: str | None
    stage: Stage = "running"
    cache_is_beside: bool = False  # `input` leaves out what a cache had to do with
    reasoning_is_beside: bool = False  # `output` leaves out what the model thought
    answer: str | None = None  # its id: several answers in one stream are summed
    others: Sequence[tuple[str, RawUsage]] = ()  # of other models that had part in it: their names and counts
    choice: int | None = None  # the index of its only one
    trails: bool = False  # it stands alone, after the end of what it counts
    replaces: bool = False  # another attempt than what was told before, which is among the others if it is billed


def inside(holder: Any, *names: str) -> Mapping[str, Any]:
    """Return the first object that a document has under one of some names; an empty one where there is none."""
    if isinstance(holder, dict):
        for name in names:
            value = holder.get(name)
            if isinstance(value, dict):
                return value
    return NO_DETAILS


def first(holder: Mapping[str, Any], *names: str) -> Any:
    """Return the first value that is told under one of some names."""
    for name in names:
        value = holder.get(name)
        if value is not None:
            return value
    return None


def less(all_counted: Any, part: Any) -> Any:
    """Return what is left of a count without a part of it; the count as it stands where the two do not fit."""
    count, without = whole(all_counted), whole(part)
    return count - without if count is not None and without is not None and without <= count else all_counted


def total(counts: Iterable[Any]) -> Any:
    """Add counts up; one that can be none is returned itself, so that it is told of."""
    added = 0
    for value in counts:
        count = 0 if value is None else whole(value)
        if count is None:
            return value
        added += count
    return added


def add(count: Any, more: Any) -> tuple[Any, bool]:
    """Add to a count; True where that cannot be added."""
    added = whole(more)
    is_spoiled = (added is None and more is not None) or (bool(added) and count is not None and whole(count) is None)
    return ((whole(count) or 0) + added if added else count), is_spoiled


def together(found: Sequence[Found]) -> Found:
    """Add up the parts of one answer, a batch."""
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
    """Add up what is told by name, by kind; `other` is that of all names which have none."""
    parts: dict[str, list[Any]] = {}
    for name, value in counts.items():
        parts.setdefault(kinds.get(name, other), []).append(value)
    return {kind: count for kind, values in parts.items() if (count := total(values)) != 0}
