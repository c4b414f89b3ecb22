"""A lease: units of one limit that this process alone may spend for a while."""

from __future__ import annotations

from typing import Any

from keygauge.clock import MS

PATIENCE_NS = 250 * MS  # the key service may grant a unit for use at once so long before it may be spent
LATE_NS = PATIENCE_NS // 2  # a call that waits so long for its unit is late by what messages took, before it too
_MARGIN_NS = 1_100 * MS  # what will not be spent goes back so long before the end: with a regular heartbeat


class Lease:
    """Units that may be spent from `start_ns` on and before `deadline_ns`. Guarded by the lock of `Admission`.

    Of an exact one the key service wants to know when it was spent. It is for use at once, or else held `is_ahead` by a
    slow caller.
    """

    __slots__ = (
        "available",
        "deadline_ns",
        "exact",
        "id",
        "is_ahead",
        "is_late",
        "is_over",
        "last_ns",
        "margin_ns",
        "progress_told",
        "refund",
        "reserved",
        "start_ns",
        "units",
    )

    def __init__(
        self, lease_id: str, units: int, deadline_ns: int, *, now_ns: int, start_ns: int = 0, exact: bool = False
    ) -> None:
        self.id = lease_id
        self.units = units
        self.available = units
        self.deadline_ns = deadline_ns
        self.start_ns = start_ns
        self.exact = exact
        self.is_ahead = False
        self.is_over = False  # the key service was told of its end
        self.margin_ns = min(_MARGIN_NS, max(deadline_ns - now_ns, 0) // 3)
        self.last_ns = 0  # when the last unit was spent
        self.is_late = False  # a call waited for long: others are to know exactly when a unit was spent
        self.reserved = 0  # units of calls under way
        self.progress_told: tuple[int, int] | None = (0, 0)  # None: what was told got lost
        self.refund = 0  # of `reserved`, what came back after the lease was closed

    def is_live(self, now_ns: int) -> bool:
        """Return whether its units may be spent now."""
        return self.start_ns <= now_ns < self.deadline_ns

    @property
    def is_spent(self) -> bool:
        """Return whether it ends by itself: nothing of it can be spent or given back, and nobody wants to know when."""
        return self.is_over or not (self.exact or self.available or self.reserved or self.refund)

    @property
    def progress(self) -> tuple[int, int]:
        """Return how many units are spent or reserved by calls under way, and how many of these are reserved."""
        return self.units - self.available, self.reserved

    def call_back(self) -> None:
        """Have it near its end from now on."""
        self.margin_ns = max(self.margin_ns, self.deadline_ns)

    @property
    def is_called_back(self) -> bool:
        """Return whether others want its units."""
        return self.margin_ns >= self.deadline_ns

    def spend(self, units: int, *, reserve: bool) -> None:
        """Spend units; those of a reservation are settled later."""
        self.available -= units
        if reserve:
            self.reserved += units

    def note(self, now_ns: int, since_ns: int) -> None:
        """Note that a unit of an exact lease is spent now, by a call that came at a moment."""
        if now_ns - since_ns >= LATE_NS:
            self.is_late = True
        self.last_ns = now_ns

    def settle(self, reserved: int, used: int, now_ns: int) -> None:
        """End a reservation; what it did not use can be spent again, or goes back when the lease is closed."""
        self.reserved -= reserved
        if now_ns < self.deadline_ns and self.margin_ns:
            self.available += reserved - used
        else:
            self.refund += reserved - used

    def close(self) -> int:
        """Spend no more of it; return the units that are used or reserved."""
        used = self.units - self.available
        self.units, self.available = used, 0
        self.margin_ns = 0  # from now on settled units only go back
        return used

    def report(self, now_ns: int) -> dict[str, Any]:
        """Write what the key service is to know of it at its end: what was not spent, and when an exact one was."""
        entry: dict[str, Any] = {"lease": self.id, "unspent": self.available + self.refund}
        if self.exact and self.last_ns:
            entry["ago_us"] = max(now_ns // 1000 - self.last_ns // 1000, 0)
            if self.is_late:
                entry["exact"] = True
        return entry
