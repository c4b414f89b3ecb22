"""Grants of units, common to all kinds of limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

_State = TypeVar("_State")


@dataclass(frozen=True)
class Grant(Generic[_State]):
    """The answer to a replica that requested units; 0 units means denied."""

    state: _State
    units: int
    remaining: int  # what the limit still has
    ends_us: int  # the units may be spent before this time
    reset_us: int  # from now until more comes free
    bucket: int = 0  # where the lease's units are counted: a quota's period, a flow's head, a rate's end
    start_us: int = 0  # … and from this time on
    wait_us: int = 0  # … and this long after the replica's request, by its own clock
    is_exact: bool = False  # for immediate use; the replica reports when it was spent
    is_small: bool = False  # single units only, as the limit has too few to lease
    frees: tuple[tuple[int, int], ...] = ()  # after this grant: a number of units, and how long until so many are free

    def retry_us(self, units: int) -> int:
        """Return how long until more units than this grant's can come free."""
        return next((us for free, us in self.frees if free >= units), self.reset_us)
