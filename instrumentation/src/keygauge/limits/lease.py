"""Leases: units of one limit that only this process may spend for a while."""

from __future__ import annotations

from typing import Any

from keygauge.clock import MS

PATIENCE_NS = 250 * MS  # the key service may grant a unit for immediate use this long before it may be spent
LATE_NS = PATIENCE_NS // 2  # a call that waited this long was delayed by messages, maybe by those of earlier calls
_MARGIN_NS = 1_100 * MS  # units that will not be spent go back this long before the end: with a regular heartbeat


class Lease:
    """Units that may be spent from `start_ns` until before `deadline_ns`. Guarded by the lock of `Admission`.

    If a lease is `exact`, the key service wants to know when it was spent. Such a lease is for immediate use, or held
    in advance for a slow caller (`is_ahead`).
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
        self.is_over = False  # its end was reported to the key service
        self.margin_ns = min(_MARGIN_NS, max(deadline_ns - now_ns, 0) // 3)
        self.last_ns = 0  # when the last unit was spent
        self.is_late = False  # a call waited long: report exactly when a unit was spent
        self.reserved = 0  # units of calls in progress
        self.progress_told: tuple[int, int] | None = (0, 0)  # None: the last report was lost
        self.refund = 0  # reserved units that were not used, settled after the lease was closed

    def is_live(self, now_ns: int) -> bool:
        """Return whether its units may be spent now."""
        return self.start_ns <= now_ns < self.deadline_ns

    @property
    def is_spent(self) -> bool:
        """Return whether there is nothing left to spend, give back or report."""
        return self.is_over or not (self.exact or self.available or self.reserved or self.refund)

    @property
    def progress(self) -> tuple[int, int]:
        """Return how many units are spent or reserved by calls in progress, and how many of these are reserved."""
        return self.units - self.available, self.reserved

    def call_back(self) -> None:
        """Treat the lease as near its end from now on."""
        self.margin_ns = max(self.margin_ns, self.deadline_ns)

    @property
    def is_called_back(self) -> bool:
        """Return whether other processes want its units."""
        return self.margin_ns >= self.deadline_ns

    def spend(self, units: int, *, reserve: bool) -> None:
        """Spend units; with `reserve`, they are settled later."""
        self.available -= units
        if reserve:
            self.reserved += units

    def note(self, now_ns: int, since_ns: int) -> None:
        """Record that a unit of an exact lease is spent now, by a call that arrived at `since_ns`."""
        if now_ns - since_ns >= LATE_NS:
            self.is_late = True
        self.last_ns = now_ns

    def settle(self, reserved: int, used: int, now_ns: int) -> None:
        """End a reservation; unused units can be spent again, or go back if the lease is closed or over."""
        self.reserved -= reserved
        if now_ns < self.deadline_ns and self.margin_ns:
            self.available += reserved - used
        else:
            self.refund += reserved - used

    def close(self) -> int:
        """Stop spending from the lease; return the units that are used or reserved."""
        used = self.units - self.available
        self.units, self.available = used, 0
        self.margin_ns = 0  # from now on, unused units only go back
        return used

    def report(self, now_ns: int) -> dict[str, Any]:
        """Build the final report to the key service: the unspent units, and when an exact lease was spent."""
        entry: dict[str, Any] = {"lease": self.id, "unspent": self.available + self.refund}
        if self.exact and self.last_ns:
            entry["ago_us"] = max(now_ns // 1000 - self.last_ns // 1000, 0)
            if self.is_late:
                entry["exact"] = True
        return entry
