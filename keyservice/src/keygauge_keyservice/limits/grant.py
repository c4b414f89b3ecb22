"""What a budget has given away in its period, and what a grant takes from a budget or a rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

_State = TypeVar("_State")


@dataclass(frozen=True)
class Counter:
    """Units given away in the period that `head` names."""

    head: int
    cells: tuple[int, ...]
    ends: tuple[int, ...] = ()  # of rates only
    clock: str = ""  # as above
    stamps: tuple[int, ...] = ()  # as above

    @property
    def used(self) -> int:
        """Return the units that count now."""
        return sum(self.cells)

    def room(self, amount: int) -> int:
        """Return how much of an amount is left; none where the limit was lowered below its use."""
        return max(0, amount - self.used)

    def take(self, units: int) -> Counter:
        """Give units away."""
        return Counter(self.head, (self.cells[0] + units,))

    def refund(self, units: int, *, head: int) -> Counter:
        """Take units back into the period they came from; once that is over, they are burnt."""
        return self.take(-min(units, self.cells[0])) if head == self.head else self


@dataclass(frozen=True)
class Grant(Generic[_State]):
    """The answer to a replica that asked for units; 0 units is a refusal."""

    state: _State
    units: int
    remaining: int  # what the limit still has
    ends_us: int  # the units may be spent before this moment
    reset_us: int  # from now until more comes free
    start_us: int = 0  # … and from this moment on
    wait_us: int = 0  # … and so long after the replica asked, by its own clock
    is_exact: bool = False  # for use at once, and the moment of use is asked for
    is_small: bool = False  # such units only: the limit has too few to lease
