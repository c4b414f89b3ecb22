"""What this process may still admit of one limit: leases granted beforehand by the key service."""

from __future__ import annotations

import math
from typing import Any

from keygauge.clock import SECOND
from keygauge.limits.lease import PATIENCE_NS, Lease
from keygauge.limits.limit import Limit

_EARLY_NS = PATIENCE_NS // 4  # where a call was refused, the next may ask so long before units come free
_SHORTEST_NS = SECOND // 10  # a rate is not read from less: the first call would look like a flood
_BUSY_CALLS = 4  # a second: below, each call asks for itself and nothing is held for calls that may not come
_LEASES = 16  # a rate's lease lasts no longer than the window divided by this: what is held longer is wasted
_BUDGET_CALLS = 8  # so many calls of a slow caller are served by one lease of a budget, …
_BUDGET_PART = 4096  # … or this part of it, whichever is more: what a crash may burn
_MOST_UNITS = 2**53 - 1


class LeasePool:
    """The leases of one limit. Guarded by the lock of `Admission`."""

    __slots__ = (
        "__weakref__",  # a keyring lets go of it with the last key that has it
        "alone",
        "asked",
        "calls",
        "closing",
        "debt",
        "denied_until_ns",
        "granted_ns",
        "leases",
        "limit",
        "reset_ns",
        "rest",
        "retry_ns",
        "share",
        "small",
        "spent",
        "waiting",
    )

    KIND = Lease  # what grants are kept as

    def __init__(self, limit: Limit) -> None:
        self.limit = limit
        self.leases: list[Lease] = []
        self.closing: list[Lease] = []  # given back but for calls under way
        self.asked = False  # a beat that asks for more is due or under way
        self.small = False  # the key service gives single units only
        self.waiting = 0  # units that requests found missing since the last answer
        self.debt = 0  # units used beyond reservations: taken from the next grant
        self.calls = 0  # that reserved those, where calls take more than one
        self.spent = 0  # units since the last grant
        self.rest = 0  # this process's part of what the limit had left after the last grant
        self.alone = False  # no other process was alive at the last grant
        self.share = 0  # units that may be admitted while the key service is away, where the limit says `safe`
        self.granted_ns = 0
        self.denied_until_ns = 0  # the key service said no: do not ask again before
        self.retry_ns = 0  # … and the caller need not come before
        self.reset_ns = 0

    def gather(self, units: int, now_ns: int) -> list[tuple[Lease, int]] | None:
        """Return where to take units from now; None where the leases do not cover them."""
        parts = []
        for lease in self.leases:
            if lease.available > 0 and lease.is_live(now_ns):
                part = min(units, lease.available)
                parts.append((lease, part))
                units -= part
                if not units:
                    return parts
        return None if units else parts

    def available(self, now_ns: int) -> int:
        """Count the units that can be spent now: a lower bound of what the limit has left."""
        total = 0
        for lease in self.leases:
            if now_ns < lease.deadline_ns:
                total += lease.available
        return total

    def count(self, units: int, now_ns: int) -> None:  # noqa: ARG002 - other kinds of limit need the moment
        """Note that a call took units."""
        self.spent += units
        self.calls += 1

    def is_low(self, lease: Lease, now_ns: int) -> bool:
        """Tell whether to ask for more before a call has to wait; `lease` is the last one that was taken from."""
        return not lease.exact and self.available(now_ns) < self.spent

    def ended(self) -> bool:
        """Note that a call has ended; tell whether what it gave back goes back to the key service at once."""
        return False

    def is_patient(self, now_ns: int) -> bool:  # noqa: ARG002 - other kinds of limit need the moment
        """Tell whether a call that was denied units waits and asks again."""
        return False

    def remaining(self, now_ns: int) -> int:
        """Count what is held, and of what the limit had left besides this process's part.

        Where other processes take from a rate too, that part is of a second at most: so it stays a lower bound as long
        as none of them takes more than its own part in that time.
        """
        total = self.rest if self.alone or self.rest_lasts(now_ns) else 0
        for lease in self.leases:
            if now_ns < lease.deadline_ns:
                total += lease.available
        return total

    def rest_lasts(self, now_ns: int) -> bool:
        """Tell whether this process's part of what was left is still there for sure."""
        return self.alone or self.limit.period is not None or now_ns - self.granted_ns < SECOND

    def refuses(self, now_ns: int) -> bool:
        """Tell whether the key service said no, not long ago."""
        return now_ns < self.denied_until_ns

    def overdraw(self, units: int, now_ns: int, *, asks: bool) -> Lease | None:  # noqa: ARG002 - as `count`
        """Let a call of a trial take what is not there: the next grant pays, so that a trial makes no call wait."""
        if asks:
            self.debt += units
        return None

    @property
    def is_empty(self) -> bool:
        """Tell whether there is nothing to tell the key service."""
        return not (self.leases or self.closing)

    def claim(self, now_ns: int) -> int | None:
        """Return when a lease starts that another waiting request may count on."""
        for lease in self.leases:
            if now_ns < lease.start_ns and lease.claims < lease.available:
                lease.claims += 1
                return lease.start_ns
        return None

    def grant(self, lease: Lease, now_ns: int, *, reset_ns: int, covers: bool) -> None:
        """Take a granted lease in; `covers` tells that it is all that was asked for."""
        self.leases = [held for held in self.leases if held.is_of_use(now_ns)]
        self.leases.append(lease)
        if self.debt:
            paid = min(self.debt, lease.available)
            lease.available -= paid
            self.debt -= paid
        self.spent = self.calls = self.waiting = 0
        self.granted_ns = now_ns
        self.reset_ns = reset_ns
        self.asked = False
        self.denied_until_ns = 0
        if not covers and lease.exact:
            self._wait(now_ns, reset_ns)

    def deny(self, now_ns: int, retry_ns: int) -> None:
        """Remember a refusal."""
        self.waiting = 0
        self.rest = 0
        self.asked = False
        self._wait(now_ns, retry_ns)

    def _wait(self, now_ns: int, retry_ns: int) -> None:
        """Do not ask for about a second, since others may give units back; nor when a call would wait for long."""
        self.retry_ns = self.reset_ns = retry_ns
        again_ns = retry_ns - (_EARLY_NS if self.small else 0)
        self.denied_until_ns = again_ns if again_ns < now_ns + SECOND + PATIENCE_NS else now_ns + SECOND

    def rate_per_s(self, now_ns: int) -> float:
        """Tell how fast units went since the last grant."""
        return self.spent * SECOND / max(now_ns - self.granted_ns, _SHORTEST_NS)

    def demand(self, now_ns: int) -> tuple[int, int]:
        """Tell how many units to ask for, and how many of them calls wait for.

        Ahead of the calls: a second's worth of the rate seen, or a lease's, where the caller is busy; of a budget,
        whose leases live longer, some calls' worth in any case.
        """
        waiting = min(_MOST_UNITS, self.waiting + self.debt)
        ahead = 0
        calls = self.spent if self.limit.unit == "request" else self.calls
        if not self.small and calls * SECOND >= _BUSY_CALLS * max(now_ns - self.granted_ns, _SHORTEST_NS):
            ahead = math.ceil(self.rate_per_s(now_ns) * min(1.0, (self.limit.window_s or _LEASES) / _LEASES))
        if self.limit.period:
            ahead = max(ahead, _BUDGET_CALLS * waiting, self.limit.amount // _BUDGET_PART)
        return min(_MOST_UNITS, max(1, waiting + ahead)), waiting

    def give_back(self, now_ns: int, *, everything: bool = False) -> list[dict[str, Any]]:
        """Take out leases that are over or near their end, or all; return what to tell the key service."""
        settled = [lease for lease in self.closing if not lease.reserved]
        self.closing = [lease for lease in self.closing if lease.reserved]
        back: list[dict[str, Any]] = [{"lease": lease.id, "unspent": lease.refund} for lease in settled]
        for lease in list(self.leases):
            told = self._end(lease, now_ns, everything=everything)
            if told is not None:
                back.append(told)
        return back

    def _end(self, lease: Lease, now_ns: int, *, everything: bool) -> dict[str, Any] | None:
        left_ns = lease.deadline_ns - now_ns
        if lease.exact and lease.last_ns and not lease.reserved and (left_ns <= 0 or not lease.available):
            self.leases.remove(lease)
            told = {"lease": lease.id, "unspent": 0, "ago_us": max(now_ns // 1000 - lease.last_ns // 1000, 0)}
            return told | {"exact": True} if lease.is_late else told
        if left_ns <= 0:  # burnt; calls under way keep what they reserved
            self.leases.remove(lease)
            return None
        if not everything and left_ns >= lease.margin_ns:
            return None
        if lease.reserved:
            self.leases.remove(lease)
            self.closing.append(lease)
            return {"lease": lease.id, "used": lease.close()}
        if everything or lease.available > int(self.rate_per_s(now_ns) * left_ns / SECOND):
            self.leases.remove(lease)
            return {"lease": lease.id, "unspent": lease.available}
        return None
