"""What this process may still admit of one limit: leases granted beforehand by the key service."""

from __future__ import annotations

import math
from typing import Any

from keygauge.clock import SECOND
from keygauge.limits.lease import PATIENCE_NS, Lease
from keygauge.limits.limit import Limit
from keygauge.limits.spend_rate import SpendRate
from keygauge.limits.unused import Unused
from keygauge.limits.wait_queue import WaitQueue
from keygauge.limits.waiter import Waiter

_EARLY_NS = PATIENCE_NS // 4  # where a call was refused, the next may ask so long before units come free
_BUSY_CALLS = 4  # a second: below, each call asks for itself and nothing is held for calls that may not come
_AHEAD_S = 2.0  # of the rate seen is held ahead: the regular heartbeats refill it before any call waits
_LEASES = 16  # a rate's lease lasts no longer than the window divided by this: what is held longer is wasted
_GROWTH = 2  # the next lease of a caller that spent its last one and waits already is so many times as large
NEVER = 2**63
_BELIEVED_NS = 10 * SECOND  # so long it is believed at most that little or nothing is left
_MANY = 64  # processes: so many share a limit that a heartbeat for each call would be too much for the key service
_PLENTY = 2  # a slow caller holds units ahead where its part of what is left is so many times as much
_PLENTY_OF_SMALL = 4  # … of a limit that is given by single units: others come before it is used up
_SLOW_LIFE_NS = 20 * SECOND  # such units may be held so long, …
_SLOW_PART = 4  # … and no longer than such a part of the window
_ROOMY = 4  # where the limit is so many times what processes take at this one's rate, …
_ROOMY_AHEAD_S = 1.0  # … units of a short window are held for so long, …
_ROOMY_PART = 2  # … and no longer than such a part of it
_CALL_BACK_NS = 3 * SECOND  # so long a call waits for what others are asked to give back
_LIFE_NS = SECOND // 2  # of a unit for use at once: the key service's own
_LONGEST_LIFE_NS = 5 * SECOND
_BUDGET_CALLS = 8  # so many calls of a slow caller are served by one lease of a budget, …
_BUDGET_PART = 4096  # … or this part of it, whichever is more: what a crash may burn
_MOST_UNITS = 2**53 - 1


class LeasePool(WaitQueue):
    """The leases of one limit, and the calls that wait for more. Guarded by the lock of `Admission`."""

    __slots__ = (
        "__weakref__",  # a key cache lets go of it with the last key that has it
        "_active_ns",
        "_call_rate",
        "_last_units",
        "_newest",
        "_scarce_until_ns",
        "_seen_taken",
        "_spend_rate",
        "_take_rate",
        "_taken",
        "_urgent_at",
        "ask_at",
        "calls",
        "closing",
        "debt",
        "denied_ns",
        "denied_until_ns",
        "granted_ns",
        "is_crowded",
        "is_followed",
        "late",
        "leases",
        "least",
        "life_ns",
        "limit",
        "replicas",
        "reset_ns",
        "rest",
        "retry_ns",
        "roomy",
        "share",
        "small",
        "spent",
        "unused",
    )

    KIND = Lease  # what grants are kept as

    def __init__(self, limit: Limit) -> None:
        super().__init__()
        self.limit = limit
        self.leases: list[Lease] = []
        self.closing: list[Lease] = []  # given back but for calls under way
        self.small = False  # the key service gives single units only
        self.debt = 0  # units used beyond reservations: taken from the next grant
        self.calls = 0  # that took units, ever; not counted where each takes one
        self.spent = 0  # units taken and not given back, ever
        self.ask_at = NEVER  # ask for more when so many are spent, before a call has to wait
        self._urgent_at = NEVER  # … and do not wait for the next regular heartbeat
        self._newest: Lease | None = None
        self._taken = 0  # units taken, ever; not counted where each call takes one
        self._last_units = 1  # that a call took
        self._seen_taken = 0  # units taken at the last look, …
        self._active_ns = 0  # … and when a look last found that there were more
        self._scarce_until_ns = 0  # there was less than a unit for each process
        self._spend_rate = SpendRate()
        self._take_rate = SpendRate()
        self._call_rate = SpendRate()
        self.roomy = False  # the limit had more than half of its units left at the last grant
        self.rest = 0  # this process's part of what the limit had left after the last grant
        self.unused = Unused()
        self.replicas = 0  # that used the limit at the last answer, this process included
        self.is_crowded = False  # many processes share what little is left: nothing is worth a heartbeat of its own
        self.share = 0  # units that may be admitted while the key service is away, where the limit says `safe`
        self.granted_ns = 0
        self.is_followed = False  # it is looked at, in turn, while leases live
        self.denied_ns = 0  # when that was asked to which the key service said no last
        self.denied_until_ns = 0  # the key service said no: do not ask again before
        self.retry_ns = 0  # … and the caller need not come before
        self.reset_ns = 0
        self.least = 0  # units that the first of the waiting calls lacked when the key service was asked last
        self.late = 0  # so many leases in a row came after their end
        self.life_ns = 0  # asked for units that calls wait for, where those before ended on their way; 0: the usual

    def gather(self, units: int, now_ns: int, waiter: Waiter | None = None) -> list[tuple[Lease, int]] | None:
        """Return where to take units from now; None where the leases do not cover them and those who came before."""
        if self.waiting and not self.is_turn(units, self.available(now_ns), waiter):
            return None
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
        """Count the units that can be spent now or soon: a lower bound of what the limit has left."""
        total = 0
        for lease in self.leases:
            if now_ns < lease.deadline_ns:
                total += lease.available
        return total

    def leave(self, waiter: Waiter, now_ns: int) -> None:
        """Take a call out that waits no more."""
        self.drop(waiter)
        self.wake_covered(now_ns)

    def missing(self, now_ns: int) -> int:
        """Count the units that calls wait for and no lease covers, and those that were used beyond reservations."""
        return max(0, self.awaited + self.debt - self.available(now_ns))

    def tell_least(self, now_ns: int) -> int:
        """Return the units that the first waiting call lacks: where they cannot come, it is not to wait."""
        first = next(iter(self.waiting.values()), 0)
        self.least = self._lacks(first, now_ns) if first else 0
        return self.least

    def _lacks(self, units: int, now_ns: int) -> int:
        """Return what a call lacks: what was used beyond reservations is taken first from all that comes."""
        return max(0, units + self.debt - self.available(now_ns))

    def starts_ns(self, waiter: Waiter, now_ns: int) -> int | None:
        """Return when leases that start later cover a waiting call, after those that came before it."""
        starting = [lease for lease in self.leases if now_ns < lease.start_ns and lease.available]
        if not starting:
            return None
        need = self.needs_until(waiter) + sum(lease.available for lease in starting) - self.available(now_ns)
        for lease in sorted(starting, key=lambda lease: lease.start_ns):
            need -= lease.available
            if need <= 0:
                return lease.start_ns
        return None

    def wake_covered(self, now_ns: int) -> None:
        """Wake the calls that the leases cover, first come first."""
        if self.waiting:
            self.wake_first(self.available(now_ns))

    def again_ns(self, waiter: Waiter, now_ns: int) -> int | None:
        """Return when a call decides again that the key service denied units; None: it is refused.

        It waits a while for what other processes hold of a quota and do not spend.
        """
        if self.limit.period and self.retry_ns < self.reset_ns and now_ns < waiter.since_ns + _CALL_BACK_NS:
            return self.denied_until_ns
        return None

    def count(self, units: int, now_ns: int) -> None:  # noqa: ARG002 - other kinds of limit need the moment
        """Note that a call took units."""
        self.spent += units
        self._taken += units
        self._last_units = units
        self.calls += 1

    def charge(self, units: int, now_ns: int) -> bool:
        """Take what a call used beyond its reservation, now or from the next grant; return whether to ask for that."""
        self.spent += units
        self._taken += units
        self.debt += units
        self.pay(now_ns)
        return self.debt > 0

    def pay(self, now_ns: int) -> None:
        """Take what was used beyond reservations from what is held."""
        for lease in self.leases if self.debt else ():
            if lease.is_live(now_ns):
                part = min(self.debt, lease.available)
                lease.available -= part
                self.debt -= part

    @property
    def is_owing(self) -> bool:
        """Return whether units of a quota were used that the key service does not count, however little is left."""
        return self.debt > 0 and self.limit.period is not None and not self.limit.dry_run

    def is_low(self, now_ns: int) -> bool:  # noqa: ARG002 - as `count`
        """Return whether to ask for more before a call has to wait."""
        return self.spent >= self.ask_at

    def is_urgent(self, now_ns: int) -> bool:  # noqa: ARG002 - as `count`
        """Return whether to ask now, once: what is held may not last until the next regular heartbeat."""
        if self.spent < self._urgent_at:
            self.ask_at = self._urgent_at
            return False
        self.ask_at = NEVER
        return True

    def ended(self, units: int) -> bool:
        """Note that a call has ended and left units; tell whether they go back to the key service at once."""
        self.spent -= units
        return False

    def remaining(self, now_ns: int) -> int:
        """Count what is held, and what nobody has used besides, less what others have taken since at their rate."""
        if self.replicas > 1:
            total = self.unused.at(now_ns)
        else:
            total = self.rest if self.limit.period is None else self.unused.latest
        for lease in self.leases:
            if now_ns < lease.deadline_ns:
                total += lease.available
        return total

    def guesses(self, now_ns: int) -> bool:
        """Return whether callers are told what others probably took meanwhile."""
        return self.replicas > 1 and self.unused.is_guess(now_ns)

    def is_denied(self, now_ns: int) -> bool:
        """Return whether to ask for none now: the key service said no, not long ago."""
        return now_ns < self.denied_until_ns

    def asks(self, units: int, now_ns: int) -> bool:
        """Return whether to ask for what a call lacks: the key service said no to more units at most."""
        if self._lacks(units, now_ns) < self.least:
            self.denied_until_ns = 0
        return not self.is_denied(now_ns)

    def denies(self, now_ns: int) -> bool:
        """Return whether a call that comes now is refused whatever it takes: not even a unit is there or to come."""
        if not self.is_denied(now_ns) or self._lacks(1, now_ns) < self.least or self.gather(1, now_ns):
            return False
        starts = any(lease.available and now_ns < lease.start_ns for lease in self.leases)
        return not starts and self.again_ns(Waiter(now_ns), now_ns) is None

    def refuses(self, now_ns: int) -> bool:
        """Return whether a call would be refused that finds no units held."""
        return self.is_denied(now_ns)

    def retry_after_ns(self, now_ns: int) -> int:
        """Return when a refused call may come again, from now: soon where calls under way may give units back.

        `NEVER` where it need not.
        """
        left_ns = max(self.retry_ns - now_ns, 0)
        if any(lease.reserved for lease in [*self.leases, *self.closing]):
            return min(left_ns, SECOND)
        return left_ns if self.limit.resets or self.retry_ns < self.reset_ns else NEVER

    def overdraw(self, units: int, now_ns: int, *, asks: bool) -> Lease | None:  # noqa: ARG002 - as `count`
        """Let a call of a trial take what is not there: the next grant pays, so that a trial makes no call wait."""
        if asks:
            self.debt += units
        return None

    @property
    def is_empty(self) -> bool:
        """Return whether there is nothing to tell the key service."""
        return not (self.leases or self.closing)

    def grant(self, lease: Lease, now_ns: int, *, reset_ns: int, retry_ns: int | None = None) -> None:
        """Take a granted lease in; where it is less than calls waited for, more may come free at `retry_ns`."""
        self.leases.append(lease)
        if self.debt:
            paid = min(self.debt, lease.available)
            lease.available -= paid
            self.debt -= paid
        self._newest = lease
        self.late = 0 if now_ns < lease.deadline_ns else self.late + 1
        self.granted_ns = now_ns
        self.reset_ns = reset_ns
        self.denied_until_ns = 0
        self._watch(now_ns)
        if retry_ns is not None:
            self._wait(now_ns, retry_ns, reset_ns)

    def _watch(self, now_ns: int) -> None:
        """Ask for more when a quarter of what is held is spent, and at once when a quarter is left."""
        held = self.available(now_ns)
        newest = self._newest
        if not held or (newest is not None and newest.exact and not newest.is_ahead):
            self.ask_at = self._urgent_at = NEVER
        else:
            self.ask_at = self.spent + max(1, held // 4)
            self._urgent_at = self.spent + max(1, held - held // 4)

    def deny(self, now_ns: int, retry_ns: int, reset_ns: int) -> None:
        """Remember a refusal."""
        self.rest = 0
        self.unused.forget()
        self._wait(now_ns, retry_ns, reset_ns)

    def call_back(self) -> None:
        """Have what is not about to be spent go back: others were denied units."""
        for lease in self.leases:
            lease.call_back()

    def _wait(self, now_ns: int, retry_ns: int, reset_ns: int) -> None:
        """Do not ask before more comes free; where others may give units back, for about a second only."""
        self.retry_ns, self.reset_ns = retry_ns, reset_ns
        again_ns = retry_ns - (_EARLY_NS if self.small else 0)
        if self.limit.window_s and retry_ns >= reset_ns:  # all is spent: none comes back before
            self.denied_until_ns = min(again_ns, now_ns + _BELIEVED_NS)
        else:
            self.denied_until_ns = again_ns if again_ns < now_ns + SECOND + PATIENCE_NS else now_ns + SECOND

    def rate_per_s(self, now_ns: int) -> float:
        """Return how fast units go."""
        return self._spend_rate.per_s(self.spent, now_ns)

    def note_left(self, remaining: int, replicas: int, now_ns: int) -> None:
        """Note what the limit had left at the key service, and how many processes use it."""
        self.replicas = replicas
        self.roomy = not self.small and 2 * remaining >= self.limit.amount
        if remaining < replicas:
            self._scarce_until_ns = now_ns + _BELIEVED_NS
        self.is_crowded = replicas >= _MANY and now_ns < self._scarce_until_ns

    def demand(self, now_ns: int) -> tuple[int, int, int]:
        """Return how many units to ask for, how many of them calls wait for, and how long they are to live.

        None where leases cover all. Nothing that is told here is forgotten when it was asked for: calls that wait do so
        until they have their units.
        """
        self._look(now_ns)
        self._take_rate.look(self._taken, now_ns)
        self._call_rate.look(self.calls, now_ns)
        missing = self.missing(now_ns)
        if self.late > 1 and missing:  # leases end on their way here; units for use at once live as long as asked
            return min(_MOST_UNITS, missing), min(_MOST_UNITS, missing), self.life_ns
        spare = max(0, self._lasting(now_ns) - self.awaited - self.debt)
        ahead = max(0, self._ahead(missing, now_ns) - spare)
        life_ns = self._slow_life_ns(now_ns) if ahead else self.life_ns
        return min(_MOST_UNITS, missing + ahead), min(_MOST_UNITS, missing), life_ns

    def _slow_life_ns(self, now_ns: int) -> int:
        """Return how long units are to be held that are asked for ahead; 0: as long as usual."""
        window_ns = (self.limit.window_s or 0) * SECOND
        if not self._is_busy(now_ns):
            return min(_SLOW_LIFE_NS, window_ns // _SLOW_PART)
        return int(self._ahead_s(now_ns) * SECOND) if self._lasts(now_ns) else 0

    def _lasts(self, now_ns: int) -> bool:
        """Return whether units of a short window are to last longer than its leases do: nobody lacks them meanwhile."""
        window_s = self.limit.window_s or 0
        if not self.roomy or not 0 < window_s < _ROOMY_AHEAD_S * _LEASES:
            return False
        return _ROOMY * self._takes_per_s(now_ns) * window_s * self.replicas <= self.limit.amount

    def _ahead_s(self, now_ns: int) -> float:
        window_s = self.limit.window_s
        if not window_s:
            return _AHEAD_S
        if self._lasts(now_ns):
            return min(_ROOMY_AHEAD_S, window_s / _ROOMY_PART)
        return min(_AHEAD_S, window_s / _LEASES)

    def _lasting(self, now_ns: int) -> int:
        """Count the units that can be spent, without those of leases that are to be renewed."""
        return self.available(now_ns) - sum(lease.available for lease in self.leases if self._renews(lease, now_ns))

    def _ahead(self, missing: int, now_ns: int) -> int:
        """Return how many units to hold for calls that will come.

        Two seconds' worth of the rate seen, or a lease's, one call's at least, where there is plenty or the caller is
        busy, and more where even that turns out to be too little; of a budget, whose leases live longer, some calls'
        worth in any case.
        """
        if self.small:  # a call's worth for a slow caller, where there is plenty and nobody else
            ahead = 0 if self._is_busy(now_ns) or self.replicas > 1 else self._usual_ahead(now_ns)
            ahead = ahead if self.rest >= _PLENTY_OF_SMALL * ahead else 0
        else:
            ahead = self._usual_ahead(now_ns)
            if not (self.roomy or self.rest >= _PLENTY * ahead or self._is_busy(now_ns)):
                ahead = 0
            newest = self._newest
            if missing and newest and now_ns - self.granted_ns < SECOND // _BUSY_CALLS:
                is_spent = not newest.available or now_ns < newest.deadline_ns  # or calls wait for its last units
                ahead = max(ahead, _GROWTH * newest.units - missing) if is_spent else ahead
        if self.limit.period and (missing or self._takes_per_s(now_ns)):
            ahead = max(ahead, _BUDGET_CALLS * missing, self.limit.amount // _BUDGET_PART)
        return ahead

    def _usual_ahead(self, now_ns: int) -> int:
        window_s = self.limit.window_s
        ahead = math.ceil(self._takes_per_s(now_ns) * self._ahead_s(now_ns))
        is_active = window_s and now_ns - self._active_ns < _SLOW_LIFE_NS
        return max(ahead, self._last_units) if is_active else ahead

    def _takes_per_s(self, now_ns: int) -> float:
        """Return how fast calls take units, what they give back at their end included: until then it is not there."""
        if self.limit.unit == "request":
            return self.rate_per_s(now_ns)
        return self._take_rate.per_s(self._taken, now_ns)

    def _is_busy(self, now_ns: int) -> bool:
        if self.limit.unit == "request":
            return self.rate_per_s(now_ns) >= _BUSY_CALLS
        return self._call_rate.per_s(self.calls, now_ns) >= _BUSY_CALLS

    def _look(self, now_ns: int) -> None:
        self._spend_rate.look(self.spent, now_ns)
        taken = self._taken or self.spent
        if taken != self._seen_taken:
            self._seen_taken, self._active_ns = taken, now_ns

    def give_back(self, now_ns: int, *, everything: bool = False) -> list[dict[str, Any]]:
        """Take out leases that are over or near their end, or all; return what to tell the key service."""
        self._look(now_ns)
        settled = [lease for lease in self.closing if not lease.reserved]
        self.closing = [lease for lease in self.closing if lease.reserved]
        back = [lease.report(now_ns) for lease in settled]
        for lease in list(self.leases):
            if self._ends(lease, now_ns, everything=everything):
                self.leases.remove(lease)
                back += self._end(lease, now_ns)
        return back

    def untold(self) -> list[Lease]:
        """Return the leases whose progress the key service does not know."""
        return [lease for lease in self.leases if lease.progress != lease.progress_told]

    def _ends(self, lease: Lease, now_ns: int, *, everything: bool) -> bool:
        """Return whether a lease goes back: it is over, spent with the moment to tell, or more than will be spent."""
        left_ns = lease.deadline_ns - now_ns
        if everything or left_ns <= 0 or lease.is_spent:
            return True
        if lease.exact and lease.last_ns and not (lease.reserved or lease.available):
            return True
        if left_ns >= lease.margin_ns:
            return False
        if self._renews(lease, now_ns):
            return False
        if lease.reserved:
            return True
        soon_ns = min(left_ns, SECOND)
        return not self.waiting and lease.available > int(self.rate_per_s(now_ns) * soon_ns / SECOND)

    def _renews(self, lease: Lease, now_ns: int) -> bool:
        """Return whether a lease is kept to its end since calls go on: they are not to wait for the next one."""
        if not self.limit.period or self.small or lease.exact:
            return False
        is_near = lease.deadline_ns - lease.margin_ns <= now_ns < lease.deadline_ns < self.reset_ns
        return is_near and not lease.is_called_back and self._takes_per_s(now_ns) > 0

    def renews(self, now_ns: int) -> bool:
        """Return whether to ask for the lease that is to follow one which is near its end."""
        return any(self._renews(lease, now_ns) for lease in self.leases)

    def _end(self, lease: Lease, now_ns: int) -> list[dict[str, Any]]:
        self._adapt_life(lease, now_ns)
        lease.is_over = True
        if lease.available:
            self.denied_until_ns = 0  # was said without these units
        if lease.reserved:
            self.closing.append(lease)
            return [{"lease": lease.id, "used": lease.close()}]
        return [lease.report(now_ns)]

    def _adapt_life(self, lease: Lease, now_ns: int) -> None:
        """Ask for a longer life of units for use at once when some ended unspent, and for a shorter one later."""
        if lease.is_ahead:
            return
        if lease.available == lease.units and now_ns >= lease.deadline_ns:
            self.life_ns = min(_LONGEST_LIFE_NS, 4 * max(self.life_ns, _LIFE_NS))
        elif lease.exact and lease.last_ns and lease.deadline_ns - lease.last_ns > self.life_ns // 2:
            self.life_ns //= 2
