"""Pools of the leases that the key service granted in advance for one limit."""

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

_EARLY_NS = PATIENCE_NS // 4  # after a refusal, the next call may ask this long before units come free
_BUSY_CALLS = 4  # per second: below this, each call asks for itself and nothing is held for calls that may not come
_AHEAD_S = 2.0  # hold this many seconds' worth of the rate seen: regular heartbeats refill it before any call waits
_LEASES = 16  # a rate limit's lease lasts at most the window divided by this: what is held longer is wasted
_GROWTH = 2  # factor by which the next lease grows if a caller has spent its last one and waits already
NEVER = 2**63
_BELIEVED_NS = 10 * SECOND  # how long to assume at most that little or nothing is left
_MANY = 64  # processes: with so many per limit, a heartbeat for each call would overload the key service
_PLENTY = 2  # a slow caller holds units in advance if its share of what is left is this many times as much
_PLENTY_OF_SMALL = 4  # … of a limit granted in single units: others arrive before it is used up
_SLOW_LIFE_NS = 20 * SECOND  # such units may be held this long, …
_SLOW_PART = 4  # … and at most for the window divided by this
_ROOMY_USE = 0.97  # if all processes, at this one's rate, need less of a short window, …
_ROOMY_AHEAD_S = 1.0  # … its units are held for as long as that allows, at most this long, …
_ROOMY_PART = 2  # … and at most for the window divided by this
_ROOMY_LIVES = 2  # they live this many times as long: those that are spent are reported with the next request
_CALL_BACK_NS = 3 * SECOND  # how long a call waits for units that others are called on to give back
_LIFE_NS = SECOND // 2  # of a unit for immediate use; the key service's default
_LONGEST_LIFE_NS = 5 * SECOND
_BUDGET_CALLS = 8  # calls of a slow caller that one lease of a quota covers, …
_BUDGET_PART = 4096  # … or the quota divided by this, if that is more; a crash may lose as much
_MOST_UNITS = 2**53 - 1


class LeasePool(WaitQueue):
    """The leases of one limit, and the calls that wait for more. Guarded by the lock of `Admission`."""

    __slots__ = (
        "__weakref__",  # the key cache drops it with the last key that has it
        "_active_ns",
        "_call_rate",
        "_last_units",
        "_newest",
        "_scarce_until_ns",
        "_seen_taken",
        "_spend_rate",
        "_take_rate",
        "_taken",
        "_told_spent",
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

    KIND = Lease  # the class of its leases

    def __init__(self, limit: Limit) -> None:
        super().__init__()
        self.limit = limit
        self.leases: list[Lease] = []
        self.closing: list[Lease] = []  # given back except for calls in progress
        self.small = False  # the key service grants single units only
        self.debt = 0  # units used beyond reservations: taken from the next grant
        self.calls = 0  # calls that took units, ever; not counted if each takes one
        self.spent = 0  # units taken and not given back, ever
        self.ask_at = NEVER  # request more when `spent` reaches this, before a call has to wait
        self._urgent_at = NEVER  # … and do not wait for the next regular heartbeat
        self._newest: Lease | None = None
        self._taken = 0  # units taken, ever; not counted if each call takes one
        self._last_units = 1  # units that the last call took
        self._seen_taken = 0  # units taken at the last look, …
        self._active_ns = 0  # … and when a look last found an increase
        self._scarce_until_ns = 0  # there was less than one unit per process
        self._spend_rate = SpendRate()
        self._take_rate = SpendRate()
        self._call_rate = SpendRate()
        self.roomy = False  # the limit had more than half of its units left at the last grant
        self.rest = 0  # what the limit had left after the last grant; this process's share of it if not per period
        self.unused = Unused()
        self._told_spent = 0  # `spent` when it was last reported
        self.replicas = 0  # processes that used the limit at the last answer, including this one
        self.is_crowded = False  # many processes share the little that is left: send no extra heartbeats
        self.share = 0  # units that may be admitted while the key service is away, if the limit is `safe`
        self.granted_ns = 0
        self.is_followed = False  # in `LeaseSync`'s rotation of pools with leases
        self.denied_ns = 0  # when the last denied request was sent
        self.denied_until_ns = 0  # the key service said no: do not ask again before this time
        self.retry_ns = 0  # … and the caller need not retry before this
        self.reset_ns = 0
        self.least = 0  # units that the first waiting call lacked at the last request to the key service
        self.late = 0  # leases in a row that arrived after their end
        self.life_ns = 0  # requested for units that calls wait for, if earlier ones ended on their way; 0: the default

    def gather(self, units: int, now_ns: int, waiter: Waiter | None = None) -> list[tuple[Lease, int]] | None:
        """Return where to take units from now; None if the leases do not cover them and the earlier waiting calls."""
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
        """Return the number of units that can be spent now or soon: a lower bound of what the limit has left."""
        total = 0
        for lease in self.leases:
            if now_ns < lease.deadline_ns:
                total += lease.available
        return total

    def leave(self, waiter: Waiter, now_ns: int) -> None:
        """Remove a call that no longer waits."""
        self.drop(waiter)
        self.wake_covered(now_ns)

    def missing(self, now_ns: int) -> int:
        """Return the number of units, waited for or used beyond reservations, that no lease covers."""
        return max(0, self.awaited + self.debt - self.available(now_ns))

    def tell_least(self, now_ns: int) -> int:
        """Return and store the units that the first waiting call lacks; if it cannot get them, it need not wait."""
        first = next(iter(self.waiting.values()), 0)
        self.least = self._lacks(first, now_ns) if first else 0
        return self.least

    def _lacks(self, units: int, now_ns: int) -> int:
        """Return what a call lacks; new units first cover what was used beyond reservations."""
        return max(0, units + self.debt - self.available(now_ns))

    def starts_ns(self, waiter: Waiter, now_ns: int) -> int | None:
        """Return when leases that start later will cover a waiting call and those before it; None if they do not."""
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
        """Wake the calls that the leases cover, in order of arrival."""
        if self.waiting:
            self.wake_first(self.available(now_ns))

    def again_ns(self, waiter: Waiter, now_ns: int) -> int | None:
        """Return when a call that was denied units decides again; None if it is refused.

        It waits a while for units of a quota that other processes hold and do not spend.
        """
        if self.limit.period and self.retry_ns < self.reset_ns and now_ns < waiter.since_ns + _CALL_BACK_NS:
            return self.denied_until_ns
        return None

    def count(self, units: int, now_ns: int) -> None:  # noqa: ARG002 - other kinds of limit need the time
        """Record that a call took units."""
        self.spent += units
        self._taken += units
        self._last_units = units
        self.calls += 1

    def charge(self, units: int, now_ns: int) -> bool:
        """Charge what a call used beyond its reservation, now or to the next grant; return whether to request more."""
        self.spent += units
        self._taken += units
        self.debt += units
        self.pay(now_ns)
        return self.debt > 0

    def pay(self, now_ns: int) -> None:
        """Pay for what was used beyond reservations with the units held."""
        for lease in self.leases if self.debt else ():
            if lease.is_live(now_ns):
                part = min(self.debt, lease.available)
                lease.available -= part
                self.debt -= part

    @property
    def is_owing(self) -> bool:
        """Return whether units of a quota were used that the key service must count, even if too little is left."""
        return self.debt > 0 and self.limit.period is not None and not self.limit.dry_run

    def is_low(self, now_ns: int) -> bool:  # noqa: ARG002 - as `count`
        """Return whether to request more before a call has to wait."""
        return self.spent >= self.ask_at

    def is_urgent(self, now_ns: int) -> bool:  # noqa: ARG002 - as `count`
        """Return whether to ask now, once, as what is held may not last until the next regular heartbeat."""
        if self.spent < self._urgent_at:
            self.ask_at = self._urgent_at
            return False
        self.ask_at = NEVER
        return True

    def ended(self, units: int) -> bool:
        """Record that a call ended with unused units; return whether they go back to the key service at once."""
        self.spent -= units
        return False

    def remaining(self, now_ns: int) -> int:
        """Return what is held plus the limit's unused rest, minus an estimate of what others have taken since."""
        total = self.unused.at(now_ns)
        for lease in self.leases:
            if now_ns < lease.deadline_ns:
                total += lease.available
        return total

    def tell_unused(self, units: int, told_ns: int, now_ns: int) -> None:
        """Record the units of the limit that were unused at `told_ns`, except those held here."""
        self._told_spent = self.spent
        self.unused.tell(units, own=self.spent + self.available(now_ns) - self.debt, told_ns=told_ns)

    def is_outdated(self, now_ns: int) -> bool:
        """Return whether `remaining` includes an estimate of what others took, or callers saw it since the report."""
        if self.limit.dry_run:
            return False
        return self.unused.is_guess(now_ns) or (self.spent != self._told_spent and self.unused.is_old(now_ns))

    def is_denied(self, now_ns: int) -> bool:
        """Return whether not to request any now, as the key service said no recently."""
        return now_ns < self.denied_until_ns

    def asks(self, units: int, now_ns: int) -> bool:
        """Return whether to request what a call lacks: the key service has not just denied as few units."""
        if self._lacks(units, now_ns) < self.least:
            self.denied_until_ns = 0
        return not self.is_denied(now_ns)

    def denies(self, now_ns: int) -> bool:
        """Return whether any call that arrives now is refused: not a single unit is available or expected."""
        if not self.is_denied(now_ns) or self._lacks(1, now_ns) < self.least or self.gather(1, now_ns):
            return False
        starts = any(lease.available and now_ns < lease.start_ns for lease in self.leases)
        return not starts and self.again_ns(Waiter(now_ns), now_ns) is None

    def refuses(self, now_ns: int) -> bool:
        """Return whether a call that finds no units held would be refused."""
        return self.is_denied(now_ns)

    def retry_after_ns(self, now_ns: int) -> int:
        """Return how long a refused caller should wait: not long if calls in progress may give units back.

        `NEVER` if it need not retry.
        """
        left_ns = max(self.retry_ns - now_ns, 0)
        if any(lease.reserved for lease in [*self.leases, *self.closing]):
            return min(left_ns, SECOND)
        return left_ns if self.limit.resets or self.retry_ns < self.reset_ns else NEVER

    def overdraw(self, units: int, now_ns: int, *, asks: bool) -> Lease | None:  # noqa: ARG002 - as `count`
        """Let a call take missing units of a dry-run limit; the next grant pays, so that dry runs delay no call."""
        if asks:
            self.debt += units
        return None

    @property
    def is_empty(self) -> bool:
        """Return whether there is nothing to report to the key service."""
        return not (self.leases or self.closing)

    def grant(self, lease: Lease, now_ns: int, *, reset_ns: int, retry_ns: int | None = None) -> None:
        """Add a granted lease; if it is less than calls waited for, more may come free at `retry_ns`."""
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
        """Set when to request more: when a quarter of what is held is spent, and at once when a quarter is left."""
        held = self.available(now_ns)
        newest = self._newest
        if not held or (newest is not None and newest.exact and not newest.is_ahead):
            self.ask_at = self._urgent_at = NEVER
        else:
            self.ask_at = self.spent + max(1, held // 4)
            self._urgent_at = self.spent + max(1, held - held // 4)

    def deny(self, now_ns: int, retry_ns: int, reset_ns: int) -> None:
        """Record a denial by the key service."""
        self.rest = 0
        self.unused.forget()
        self._wait(now_ns, retry_ns, reset_ns)

    def call_back(self) -> None:
        """Give back what is not about to be spent, as others were denied units."""
        for lease in self.leases:
            lease.call_back()

    def _wait(self, now_ns: int, retry_ns: int, reset_ns: int) -> None:
        """Do not ask before more comes free; only for about a second if others may give units back."""
        self.retry_ns, self.reset_ns = retry_ns, reset_ns
        again_ns = retry_ns - (_EARLY_NS if self.small else 0)
        if self.limit.window_s and retry_ns >= reset_ns:  # everything is spent: nothing comes back before
            self.denied_until_ns = min(again_ns, now_ns + _BELIEVED_NS)
        else:
            self.denied_until_ns = again_ns if again_ns < now_ns + SECOND + PATIENCE_NS else now_ns + SECOND

    def rate_per_s(self, now_ns: int) -> float:
        """Return how many units are spent per second."""
        return self._spend_rate.per_s(self.spent, now_ns)

    def note_left(self, remaining: int, replicas: int, now_ns: int) -> None:
        """Record what the limit had left at the key service, and how many processes use it."""
        self.replicas = replicas
        self.roomy = not self.small and 2 * remaining >= self.limit.amount
        if remaining < replicas:
            self._scarce_until_ns = now_ns + _BELIEVED_NS
        self.is_crowded = replicas >= _MANY and now_ns < self._scarce_until_ns

    def demand(self, now_ns: int) -> tuple[int, int, int]:
        """Return how many units to request, how many of them calls wait for, and their lifetime in nanoseconds.

        The number is 0 if leases cover everything. Requesting units does not reduce the demand: calls wait until they
        have their units.
        """
        self._look(now_ns)
        self._take_rate.look(self._taken, now_ns)
        self._call_rate.look(self.calls, now_ns)
        missing = self.missing(now_ns)
        if self.late > 1 and missing:  # leases end on their way here; units for immediate use live as long as requested
            return min(_MOST_UNITS, missing), min(_MOST_UNITS, missing), self.life_ns
        spare = max(0, self._lasting(now_ns) - self.awaited - self.debt)
        ahead = max(0, self._ahead(missing, now_ns) - spare)
        life_ns = self._slow_life_ns(now_ns) if ahead else self.life_ns
        return min(_MOST_UNITS, missing + ahead), min(_MOST_UNITS, missing), life_ns

    def _slow_life_ns(self, now_ns: int) -> int:
        """Return the lifetime of units requested in advance; 0 for the default."""
        window_ns = (self.limit.window_s or 0) * SECOND
        if not self._is_busy(now_ns):
            return min(_SLOW_LIFE_NS, window_ns // _SLOW_PART)
        return int(self._lasts_s(now_ns) * SECOND) * _ROOMY_LIVES

    def _lasts_s(self, now_ns: int) -> float:
        """Return how long to hold units of a short window, in seconds; 0 if no longer than its leases usually last.

        A unit counts for a window after it was spent, and for as long as it is held and reported.
        """
        window_s, per_s = self.limit.window_s or 0, self._takes_per_s(now_ns) * self.replicas
        if self.small or not per_s or not 0 < window_s < _ROOMY_AHEAD_S * _LEASES:
            return 0
        room_s = (_ROOMY_USE * self.limit.amount / per_s - window_s) / 2
        lasts_s = min(room_s, _ROOMY_AHEAD_S, window_s / _ROOMY_PART)
        return lasts_s if lasts_s > window_s / _LEASES else 0

    def _ahead_s(self, now_ns: int) -> float:
        window_s = self.limit.window_s
        if not window_s:
            return _AHEAD_S
        return self._lasts_s(now_ns) or min(_AHEAD_S, window_s / _LEASES)

    def _lasting(self, now_ns: int) -> int:
        """Return the number of units that can be spent, without those of leases that will be renewed."""
        return self.available(now_ns) - sum(lease.available for lease in self.leases if self._renews(lease, now_ns))

    def _ahead(self, missing: int, now_ns: int) -> int:
        """Return how many units to hold for future calls.

        Two seconds' worth of the rate seen, or as much as lasts for a lease, at least one call's, if there is plenty or
        the caller is busy; more if even that turns out to be too little. For a quota, whose leases live longer, always
        some calls' worth.
        """
        if self.small:  # a call's worth for a slow caller, if there is plenty and nobody else
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
        """Return how many units calls take per second, including what they give back when they end."""
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
        """Remove leases that are over or near their end, or all; return what to report to the key service."""
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
        """Return the leases whose progress has not been reported to the key service."""
        return [lease for lease in self.leases if lease.progress != lease.progress_told]

    def _ends(self, lease: Lease, now_ns: int, *, everything: bool) -> bool:
        """Return whether a lease goes back: it is over, spent at a time to report, or more than will be spent."""
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
        """Return whether a lease is kept to its end because calls go on, which should not wait for the next one."""
        if not self.limit.period or self.small or lease.exact:
            return False
        is_near = lease.deadline_ns - lease.margin_ns <= now_ns < lease.deadline_ns < self.reset_ns
        return is_near and not lease.is_called_back and self._takes_per_s(now_ns) > 0

    def renews(self, now_ns: int) -> bool:
        """Return whether to request a successor for a lease that is near its end."""
        return any(self._renews(lease, now_ns) for lease in self.leases)

    def _end(self, lease: Lease, now_ns: int) -> list[dict[str, Any]]:
        self._adapt_life(lease, now_ns)
        lease.is_over = True
        if lease.available:
            self.denied_until_ns = 0  # the denial did not include these units
        if lease.reserved:
            self.closing.append(lease)
            return [{"lease": lease.id, "used": lease.close()}]
        return [lease.report(now_ns)]

    def _adapt_life(self, lease: Lease, now_ns: int) -> None:
        """Request a longer life for units for immediate use after some ended unspent, and a shorter one later."""
        if lease.is_ahead:
            return
        if lease.available == lease.units and now_ns >= lease.deadline_ns:
            self.life_ns = min(_LONGEST_LIFE_NS, 4 * max(self.life_ns, _LIFE_NS))
        elif lease.exact and lease.last_ns and lease.deadline_ns - lease.last_ns > self.life_ns // 2:
            self.life_ns //= 2
