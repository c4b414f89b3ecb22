"""Slots that this process holds of a limit on concurrent requests, one per call in progress."""

from __future__ import annotations

from typing import Any

from keygauge.clock import MS, SECOND
from keygauge.limits.lease import Lease
from keygauge.limits.lease_pool import LeasePool
from keygauge.limits.limit import Limit
from keygauge.limits.waiter import Waiter

_AGAIN_NS = 30 * MS  # a slot may come free at any time: while a call waits, ask again at this interval
PATIENCE_NS = 250 * MS  # each call waits this long, …
_LATEST_NS = 100 * MS  # … and until a request sent at most this long before that end has been denied
_PEAK_NS = 5 * SECOND  # slots are held for the peak number of calls of this time, or of twice that
_RENEWED_NS = SECOND  # how often held slots are renewed at the key service
_FREE_NS = 3 * SECOND  # how long to tell callers of free slots that the key service told of


class ConcurrencyLease(Lease):
    """Slots held until given back; they must be renewed at the key service before `deadline_ns`."""

    __slots__ = ("renew_ns", "reported")

    def __init__(
        self, lease_id: str, units: int, deadline_ns: int, *, now_ns: int, start_ns: int = 0, exact: bool = False
    ) -> None:
        super().__init__(lease_id, units, deadline_ns, now_ns=now_ns, start_ns=start_ns, exact=exact)
        self.reported = units  # what the key service counts
        self.renew_ns = now_ns + _RENEWED_NS

    @property
    def is_spent(self) -> bool:
        """Return False, even after its end: the key service may still know the lease."""
        return False

    def settle(self, reserved: int, used: int, now_ns: int) -> None:  # noqa: ARG002 - signature of Lease
        """End a call and free its slot."""
        self.reserved -= reserved
        self.available += reserved

    def drop(self, units: int) -> None:
        """Give up unused slots."""
        self.units -= units
        self.available -= units

    def renew(self, units: int, sent_ns: int, deadline_ns: int) -> None:
        """Note that the key service has renewed the lease as requested by a heartbeat sent at `sent_ns`."""
        self.reported = units
        self.renew_ns = sent_ns + _RENEWED_NS
        self.deadline_ns = max(self.deadline_ns, deadline_ns)


class ConcurrencyPool(LeasePool):
    """The slots of one limit. Calls whose slots the key service no longer counts still block further calls."""

    __slots__ = ("before", "free", "lost", "peak", "told_ns", "turn_ns")

    KIND = ConcurrencyLease

    def __init__(self, limit: Limit) -> None:
        super().__init__(limit)
        self.leases: list[ConcurrencyLease] = []  # type: ignore[assignment]  # narrower type
        self.lost: list[ConcurrencyLease] = []  # ended at the key service, with calls in progress
        self.peak = 0  # most concurrent calls since `turn_ns` minus `_PEAK_NS`
        self.before = 0  # … and in the period before that
        self.turn_ns = 0
        self.free = 0  # slots that nobody held …
        self.told_ns = 0  # … at this time

    def gather(self, units: int, now_ns: int, waiter: Waiter | None = None) -> list[tuple[Lease, int]] | None:
        """Return where to take slots from; None if all are in use, or waiting calls come first."""
        return super().gather(units, now_ns, waiter) if self.available(now_ns) >= units else None

    def available(self, now_ns: int) -> int:
        """Return the number of slots that are certainly free."""
        return sum(lease.available for lease in self.leases if lease.is_live(now_ns)) - self._uncounted(now_ns)

    def remaining(self, now_ns: int) -> int:
        """Return the number of free slots held, plus those that nobody held a moment ago."""
        is_there = self.replicas == 1 or now_ns - self.told_ns < _FREE_NS
        return max(0, self.available(now_ns) + (self.free if is_there else 0))

    def note_free(self, slots: int | None, now_ns: int) -> None:
        """Record how many slots nobody held; None from an older key service."""
        if slots is not None:
            self.free, self.told_ns = slots, now_ns

    def count(self, units: int, now_ns: int) -> None:  # noqa: ARG002 - signature of LeasePool
        """Note that a call has started."""
        self._turn(now_ns)
        self.peak = max(self.peak, self._busy())

    def is_low(self, now_ns: int) -> bool:
        """Return whether to request more before a call has to wait."""
        return not self.small and not self.is_denied(now_ns) and self._spare() < 0

    def is_urgent(self, now_ns: int) -> bool:
        """Return whether the next call would have to wait."""
        return self.available(now_ns) <= 0

    def ended(self, units: int) -> bool:  # noqa: ARG002 - signature of LeasePool
        """Return whether a slot that came free goes back at once: slots are scarce, so others may wait for it."""
        return self.small and not self.waiting

    def is_denied(self, now_ns: int) -> bool:
        """Return whether not to request any now: the key service has none, or all are held here."""
        return super().is_denied(now_ns) or self._units(now_ns) >= self.limit.amount

    def again_ns(self, waiter: Waiter, now_ns: int) -> int | None:
        """Return when a waiting call decides again: a slot that just came free may be on its way back."""
        end_ns = waiter.since_ns + PATIENCE_NS
        if self._units(now_ns) >= self.limit.amount:
            return end_ns if now_ns < end_ns else None
        if now_ns < end_ns:
            return min(end_ns, self.denied_until_ns)
        return None if self.denied_ns >= end_ns - _LATEST_NS else self.denied_until_ns

    def refuses(self, now_ns: int) -> bool:
        """Return whether there was no slot recently."""
        return now_ns < self.retry_ns or self._units(now_ns) >= self.limit.amount

    def retry_after_ns(self, now_ns: int) -> int:  # noqa: ARG002 - signature of LeasePool
        """Return how long a refused caller should wait: a constant, as nobody knows when a slot comes free."""
        return SECOND

    def overdraw(self, units: int, now_ns: int, *, asks: bool) -> Lease | None:  # noqa: ARG002 - signature of LeasePool
        """Let a call pass a dry-run limit without a slot, but count it while it is in progress."""
        lease = ConcurrencyLease("", units, 0, now_ns=now_ns)
        lease.spend(units, reserve=True)
        self.lost.append(lease)
        return lease

    def owes(self, now_ns: int) -> bool:
        """Return whether calls are in progress that the key service must count before others may start."""
        return now_ns >= self.denied_until_ns and self.available(now_ns) < 0

    def _wait(self, now_ns: int, retry_ns: int, reset_ns: int) -> None:  # noqa: ARG002 - nobody knows when a slot comes free
        self.free = 0
        self.denied_until_ns = now_ns + _AGAIN_NS
        self.retry_ns = now_ns + SECOND

    def note_left(self, remaining: int, replicas: int, now_ns: int) -> None:  # noqa: ARG002 - signature of LeasePool
        """Record how many processes use the limit."""
        self.replicas = replicas

    def demand(self, now_ns: int) -> tuple[int, int, int]:
        """Return how many slots to request, how many of them calls wait for or use already, and 0 for no lifetime."""
        missing = self.missing(now_ns)
        ahead = 0 if self.small else max(0, -self._spare() - missing)
        units = max(0, min(missing + ahead, self.limit.amount - self._units(now_ns)))
        return units, min(units, missing), 0

    def give_back(self, now_ns: int, *, everything: bool = False) -> list[dict[str, Any]]:
        """Drop slots that are not needed; return the leases that became empty."""
        self._turn(now_ns)
        self.lost = [lease for lease in self.lost if lease.reserved]
        free = self.available(now_ns) - self.awaited
        spare = free if self.small else min(free, self._spare())
        if everything:
            spare = sum(lease.units for lease in self.leases)
        back = []
        for lease in list(self.leases):
            part = max(0, min(spare, lease.available))
            lease.drop(part)
            spare -= part
            if not lease.units:
                self.leases.remove(lease)
                back.append({"lease": lease.id, "unspent": part})
        return back

    def hold(self, now_ns: int, *, everything: bool = False) -> list[ConcurrencyLease]:
        """Return the leases to renew at the key service, or whose reduced size to report."""
        return [
            lease for lease in self.leases if everything or now_ns >= lease.renew_ns or lease.units < lease.reported
        ]

    def untold(self) -> list[Lease]:
        """Return no leases: slots are reported as held instead."""
        return []

    def lose(self, lease: ConcurrencyLease) -> None:
        """Give up a lease that the key service no longer knows."""
        if lease in self.leases:
            self.leases.remove(lease)
            if lease.reserved:
                self.lost.append(lease)

    @property
    def is_empty(self) -> bool:
        """Return whether there is nothing to report to the key service."""
        return not (self.leases or self.lost)

    def _turn(self, now_ns: int) -> None:
        """Start a new period for the peak once the last one is over."""
        if now_ns >= self.turn_ns:
            self.before = self.peak if now_ns < self.turn_ns + _PEAK_NS else 0
            self.peak = 0
            self.turn_ns = now_ns + _PEAK_NS

    def _units(self, now_ns: int) -> int:
        return sum(lease.units for lease in self.leases if lease.is_live(now_ns))

    def _busy(self) -> int:
        return sum(lease.reserved for lease in [*self.leases, *self.lost])

    def _uncounted(self, now_ns: int) -> int:
        """Return the number of calls whose slots the key service may have given to others."""
        ended = [lease for lease in self.leases if not lease.is_live(now_ns)]
        return sum(lease.reserved for lease in [*ended, *self.lost])

    def _spare(self) -> int:
        """Return how many more slots are held than will soon be needed; negative if some are missing."""
        peak = max(self.peak, self.before, self._busy())
        return sum(lease.units for lease in self.leases) - peak - max(1, peak // 4)


def lease_pool_of(limit: Limit) -> LeasePool:
    """Return a new lease pool of the type that the limit's unit needs."""
    return ConcurrencyPool(limit) if limit.unit == "concurrent" else LeasePool(limit)
