"""A lease: units of one limit that this process alone may spend for a while."""

from __future__ import annotations

from keygauge.clock import MS

_MARGIN_NS = 500 * MS  # what will not be spent goes back so long before the end, while it still can


class Lease:
    """Units that may be spent from `start_ns` on and before `deadline_ns`. Guarded by the lock of `Admission`.

    An exact one is for use at once; when it is spent, the key service wants to know when that was.
    """

    __slots__ = (
        "available",
        "claims",
        "deadline_ns",
        "exact",
        "id",
        "last_ns",
        "margin_ns",
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
        self.margin_ns = min(_MARGIN_NS, max(deadline_ns - now_ns, 0) // 3)
        self.claims = 0  # requests that wait for the start
        self.last_ns = 0  # when the last unit was spent
        self.reserved = 0  # units of calls under way
        self.refund = 0  # of those, what came back after the lease was closed

    def is_live(self, now_ns: int) -> bool:
        """Tell whether its units may be spent now."""
        return self.start_ns <= now_ns < self.deadline_ns

    def is_of_use(self, now_ns: int) -> bool:
        """Tell whether units of it may be spent yet, settled, or told of."""
        return self.exact or (now_ns < self.deadline_ns and bool(self.available or self.reserved))

    def spend(self, units: int, now_ns: int, *, reserve: bool) -> None:
        """Spend units; those of a reservation are settled later."""
        self.available -= units
        self.last_ns = now_ns
        if reserve:
            self.reserved += units

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
