"""The calls that wait for units of one limit, first come first."""

from __future__ import annotations

from keygauge.limits.waiter import Waiter


class WaitQueue:
    """Waiting calls and the units that each needs, in the order in which they came. Guarded by `Admission.lock`."""

    __slots__ = ("awaited", "waiting")

    def __init__(self) -> None:
        self.waiting: dict[Waiter, int] = {}
        self.awaited = 0  # the sum of their units

    def enter(self, waiter: Waiter, units: int) -> None:
        """Give a call that waits for units its place, or leave it there."""
        self.awaited += units - self.waiting.get(waiter, 0)
        self.waiting[waiter] = units

    def drop(self, waiter: Waiter) -> None:
        """Take a call out, if it is there."""
        self.awaited -= self.waiting.pop(waiter, 0)

    def is_turn(self, units: int, available: int, waiter: Waiter | None) -> bool:
        """Return whether what is available covers the calls that came before and this one; None waits nowhere."""
        left = available - units
        if left >= self.awaited - self.waiting.get(waiter, 0):  # type: ignore[arg-type]  # None is no key
            return True
        for other, needs in self.waiting.items():
            if left < 0 or other is waiter:
                return left >= 0
            left -= needs
        return left >= 0

    def needs_until(self, waiter: Waiter) -> int:
        """Count the units that a call and those before it need."""
        needs = 0
        for other, units in self.waiting.items():
            needs += units
            if other is waiter:
                break
        return needs

    def wake_first(self, available: int) -> None:
        """Wake the calls that what is available covers, where they lack units of this limit."""
        for waiter, units in self.waiting.items():
            available -= units
            if available < 0:
                return
            if self in waiter.lacks:
                waiter.wake()

    def wake_all(self) -> None:
        """Wake the calls that wait: there is no more for them now."""
        for waiter in self.waiting:
            waiter.wake()
