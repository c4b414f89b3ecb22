"""What a limit has given away so far, and what a grant takes from it: the values that `ring` and `budget` work on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Counter:
    """Units given away, newest bucket or period first; `head` names the newest."""

    head: int
    cells: tuple[int, ...]

    @property
    def used(self) -> int:
        """Return the units that count now."""
        return sum(self.cells)

    def room(self, amount: int) -> int:
        """Return how much of an amount is left; none where the limit was lowered below its use."""
        return max(0, amount - self.used)

    def take(self, units: int) -> Counter:
        """Give units away from the newest bucket."""
        return Counter(self.head, (self.cells[0] + units, *self.cells[1:]))

    def refund(self, units: int, *, head: int) -> Counter:
        """Take units back into the bucket or period they came from, where that still counts."""
        index = self.head - head
        if not 0 <= index < len(self.cells):
            return self
        left = max(0, self.cells[index] - units)
        return Counter(self.head, (*self.cells[:index], left, *self.cells[index + 1 :]))


@dataclass(frozen=True)
class Grant:
    """The answer to a replica that asked for units; 0 units is a refusal."""

    counter: Counter
    units: int
    remaining: int  # what the limit still has
    ends_us: int  # the units may be spent before this moment
    reset_us: int  # from now until more comes free
