"""What a provider's document tells: counts as they stand there, not yet checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from keygauge.usage.counts import whole

Stage = Literal[
    "opening",  # of a stream: the output is still to come, so these counts alone are never all
    "running",  # so far; all, if the stream then ends as it should
    "final",  # nothing more will come
]
NO_DETAILS: Mapping[str, Any] = {}


class Told(NamedTuple):
    """Counts of one document, whatever its JSON holds there. None is "not told"."""

    input: Any = None
    output: Any = None
    cache_read: Any = None
    cache_write: Any = None
    reasoning: Any = None
    tool_input: Any = None  # beside `input`
    total: Any = None
    details: Mapping[str, Any] = NO_DETAILS


class Found(NamedTuple):
    """The counts of one document and how they relate to each other."""

    told: Told
    provider: str | None
    model: str | None
    stage: Stage = "running"
    cache_is_beside: bool = False  # `input` leaves out what a cache had to do with
    reasoning_is_beside: bool = False  # `output` leaves out what the model thought
    answer: str | None = None  # its id: several answers in one stream are summed


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
