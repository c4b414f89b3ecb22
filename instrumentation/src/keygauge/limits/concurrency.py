"""Slots: what this process holds of a limit of concurrent requests, one for each call under way."""

from __future__ import annotations

from typing import Any

from keygauge.clock import MS, SECOND
from keygauge.limits.lease import Lease
from keygauge.limits.lease_pool import LeasePool
from keygauge.limits.limit import Limit
from keygauge.limits.waiter import Waiter

_AGAIN_NS = 30 * MS  # a slot may come free at any moment: ask again after so long, while a call waits
PATIENCE_NS = 250 * MS  # for so long, each call by itself, …
_LATEST_NS = 100 * MS  # … and until it was denied a slot by an answer to what was asked no longer before
_PEAK_NS = 5 * SECOND  # slots are held for as many calls as there were at once in so long, or twice that
_RENEWED_NS = SECOND  # how often the key service is told that slots are held still


class ConcurrencyLease(Lease):
    """Slots that are held until given back, and kept by telling the key service so before `deadline_ns`."""

    __slots__ = ("renew_ns", "reported")

    def __init__(
        self, lease_id: str, units: int, deadline_ns: int, *, now_ns: int, start_ns: int = 0, exact: bool = False
    ) -> None:
        super().__init__(lease_id, units, deadline_ns, now_ns=now_ns, start_ns=start_ns, exact=exact)
        self.reported = units  # what the key service counts
        self.renew_ns = now_ns + _RENEWED_NS

    @property
    def is_spent(self) -> bool:
        """Tell that it is not, even past its end: the key service may know it yet."""
        return False

    def settle(self, reserved: int, used: int, now_ns: int) -> None:  # noqa: ARG002 - as any lease
        """End a call; its slot is free."""
        self.reserved -= reserved
        self.available += reserved

    def drop(self, units: int) -> None:
        """Give slots up that no call is in."""
        self.units -= units
        self.available -= units

    def renew(self, units: int, sent_ns: int, deadline_ns: int) -> None:
        """Note that the key service keeps it, as it was told when the heartbeat was sent."""
        self.reported = units
        self.renew_ns = sent_ns + _RENEWED_NS
        self.deadline_ns = max(self.deadline_ns, deadline_ns)


class ConcurrencyPool(LeasePool):
    """The slots of one limit. A call whose slot the key service no longer counts keeps others from being admitted."""

    __slots__ = ("before", "lost", "peak", "turn_ns")

    KIND = ConcurrencyLease

    def __init__(self, limit: Limit) -> None:
        super().__init__(limit)
        self.leases: list[ConcurrencyLease] = []  # type: ignore[assignment]  # of this kind only
        self.lost: list[ConcurrencyLease] = []  # ended at the key service, with calls under way
        self.peak = 0  # calls at once, since `turn_ns` less `_PEAK_NS`
        self.before = 0  # … and in the time before that
        self.turn_ns = 0

    def gather(self, units: int, now_ns: int, waiter: Waiter | None = None) -> list[tuple[Lease, int]] | None:
        """Return where to take slots from; None where calls are in all of them, or wait for those that are free."""
        return super().gather(units, now_ns, waiter) if self.available(now_ns) >= units else None

    def available(self, now_ns: int) -> int:
        """Count the slots that are free for sure."""
        return sum(lease.available for lease in self.leases if lease.is_live(now_ns)) - self._uncounted(now_ns)

    def remaining(self, now_ns: int) -> int:
        """Count the free slots, and this process's part of those that were left, as long as it is there for sure."""
        is_there = self.replicas == 1 or now_ns - self.granted_ns < SECOND
        return max(0, self.available(now_ns) + (self.rest if is_there else 0))

    def count(self, units: int, now_ns: int) -> None:  # noqa: ARG002 - as any lease pool
        """Note that a call came in."""
        self._turn(now_ns)
        self.peak = max(self.peak, self._busy())

    def is_low(self, now_ns: int) -> bool:
        """Return whether to ask for more before a call has to wait."""
        return not self.small and not self.is_denied(now_ns) and self._spare() < 0

    def is_urgent(self, now_ns: int) -> bool:
        """Return whether the next call would have to wait."""
        return self.available(now_ns) <= 0

    def ended(self, units: int) -> bool:  # noqa: ARG002 - as any lease pool
        """Note that a slot came free; where slots are scarce it goes back at once, for others may wait for it."""
        return self.small and not self.waiting

    def is_denied(self, now_ns: int) -> bool:
        """Return whether to ask for none now: the key service has none, or all are held here."""
        return super().is_denied(now_ns) or self._units(now_ns) >= self.limit.amount

    def again_ns(self, waiter: Waiter, now_ns: int) -> int | None:
        """Return when a call decides again: a slot of a call that ended a moment ago may be on its way back."""
        end_ns = waiter.since_ns + PATIENCE_NS
        if self._units(now_ns) >= self.limit.amount:
            return end_ns if now_ns < end_ns else None
        if now_ns < end_ns:
            return min(end_ns, self.denied_until_ns)
        return None if self.denied_ns >= end_ns - _LATEST_NS else self.denied_until_ns

    def refuses(self, now_ns: int) -> bool:
        """Return whether there was no slot, not long ago."""
        return now_ns < self.retry_ns or self._units(now_ns) >= self.limit.amount

    def retry_after_ns(self, now_ns: int) -> int:  # noqa: ARG002 - as any lease pool
        """Return when a call that is refused may come again: when a slot comes free nobody knows."""
        return SECOND

    def overdraw(self, units: int, now_ns: int, *, asks: bool) -> Lease | None:  # noqa: ARG002 - as any lease pool
        """Let a call of a trial pass without a slot; it is under way all the same."""
        lease = ConcurrencyLease("", units, 0, now_ns=now_ns)
        lease.spend(units, reserve=True)
        self.lost.append(lease)
        return lease

    def owes(self, now_ns: int) -> bool:
        """Return whether calls are under way that the key service does not count; it is told before others come in."""
        return now_ns >= self.denied_until_ns and self.available(now_ns) < 0

    def _wait(self, now_ns: int, retry_ns: int, reset_ns: int) -> None:  # noqa: ARG002 - when a slot comes free nobody knows
        self.denied_until_ns = now_ns + _AGAIN_NS
        self.retry_ns = now_ns + SECOND

    def note_left(self, remaining: int, replicas: int, now_ns: int) -> None:  # noqa: ARG002 - as any lease pool
        """Note how many processes use the limit."""
        self.replicas = replicas

    def demand(self, now_ns: int) -> tuple[int, int, int]:
        """Return how many slots to ask for, how many of them calls wait for, or are in already, and 0: they last."""
        missing = self.missing(now_ns)
        ahead = 0 if self.small else max(0, -self._spare() - missing)
        units = max(0, min(missing + ahead, self.limit.amount - self._units(now_ns)))
        return units, min(units, missing), 0

    def give_back(self, now_ns: int, *, everything: bool = False) -> list[dict[str, Any]]:
        """Drop slots that are not needed; return the leases that are empty thereby."""
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
        """Return the leases of which to tell the key service that they are held still, or that they shrank."""
        return [
            lease for lease in self.leases if everything or now_ns >= lease.renew_ns or lease.units < lease.reported
        ]

    def untold(self) -> list[Lease]:
        """Return none: of slots it is told that they are held."""
        return []

    def lose(self, lease: ConcurrencyLease) -> None:
        """Give up a lease that the key service does not know any more."""
        if lease in self.leases:
            self.leases.remove(lease)
            if lease.reserved:
                self.lost.append(lease)

    @property
    def is_empty(self) -> bool:
        """Return whether there is nothing to tell the key service."""
        return not (self.leases or self.lost)

    def _turn(self, now_ns: int) -> None:
        """Forget the peak of a while ago."""
        if now_ns >= self.turn_ns:
            self.before = self.peak if now_ns < self.turn_ns + _PEAK_NS else 0
            self.peak = 0
            self.turn_ns = now_ns + _PEAK_NS

    def _units(self, now_ns: int) -> int:
        return sum(lease.units for lease in self.leases if lease.is_live(now_ns))

    def _busy(self) -> int:
        return sum(lease.reserved for lease in [*self.leases, *self.lost])

    def _uncounted(self, now_ns: int) -> int:
        """Count the calls whose slot the key service may have given to another."""
        ended = [lease for lease in self.leases if not lease.is_live(now_ns)]
        return sum(lease.reserved for lease in [*ended, *self.lost])

    def _spare(self) -> int:
        """Return how many slots are held beyond those that will soon be needed; negative: how many are missing."""
        peak = max(self.peak, self.before, self._busy())
        return sum(lease.units for lease in self.leases) - peak - max(1, peak // 4)


def lease_pool_of(limit: Limit) -> LeasePool:
    """Make the lease pool that a limit's unit needs."""
    return ConcurrencyPool(limit) if limit.unit == "concurrent" else LeasePool(limit)
