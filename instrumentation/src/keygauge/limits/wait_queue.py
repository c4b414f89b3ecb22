"""Queues of the calls that wait for units of one limit, in order of arrival."""

from __future__ import annotations

from keygauge.limits.waiter import Waiter


class WaitQueue:
    """Waiting calls and the units that each needs, in order of arrival. Guarded by `Admission.lock`."""

    __slots__ = ("awaited", "waiting")

    def __init__(self) -> None:
        self.waiting: dict[Waiter, int] = {}
        self.awaited = 0  # the sum of their units

    def enter(self, waiter: Waiter, units: int) -> None:
        """Add a call that waits for units; if it is already there, it keeps its place."""
        self.awaited += units - self.waiting.get(waiter, 0)
        self.waiting[waiter] = units

    def drop(self, waiter: Waiter) -> None:
        """Remove a call, if it is there."""
        self.awaited -= self.waiting.pop(waiter, 0)

    def is_turn(self, units: int, available: int, waiter: Waiter | None) -> bool:
        """Return whether what is available covers this call and those before it; without a waiter, all that wait."""
        left = available - units
        if left >= self.awaited - self.waiting.get(waiter, 0):  # type: ignore[arg-type]  # None is never a key
            return True
        for other, needs in self.waiting.items():
            if left < 0 or other is waiter:
                return left >= 0
            left -= needs
        return left >= 0

    def needs_until(self, waiter: Waiter) -> int:
        """Return the number of units that a call and those before it need."""
        needs = 0
        for other, units in self.waiting.items():
            needs += units
            if other is waiter:
                break
        return needs

    def wake_first(self, available: int) -> None:
        """Wake the calls that the available units cover, if they lack units of this limit."""
        for waiter, units in self.waiting.items():
            available -= units
            if available < 0:
                return
            if self in waiter.lacks:
                waiter.wake()

    def wake_all(self) -> None:
        """Wake all waiting calls, as there are no more units for them now."""
        for waiter in self.waiting:
            waiter.wake()
