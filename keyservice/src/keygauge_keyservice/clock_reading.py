"""A reading of the clock that the processes of one host share."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Reading:
    """What a clock showed, in microseconds; readings of clocks with the same name can be compared."""

    clock: str
    us: int
