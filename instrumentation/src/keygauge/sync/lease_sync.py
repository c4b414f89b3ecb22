"""The parts of the heartbeat's messages that request, return, renew and grant leases."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush, nsmallest
from itertools import count, islice
from typing import Any
from weakref import WeakValueDictionary

from keygauge.clock import MS, SECOND
from keygauge.limits.admission import Admission
from keygauge.limits.concurrency import ConcurrencyLease, ConcurrencyPool
from keygauge.limits.lease import Lease
from keygauge.limits.lease_pool import LeasePool
from keygauge.protocol import PROGRESS_S
from keygauge.sync.lost_answers import LostAnswers

_SOON_NS = SECOND  # the end of a lease is not urgent: the next regular heartbeat will do
MOST = 500  # look-ups, acquisitions, returns or renewals in one heartbeat: see docs/reference/protocol.md
_LEAST = 16
_FOLLOWED_MOST = 64  # limits of which one heartbeat asks what is unused


@dataclass(frozen=True)
class LeaseRequest:
    """The content of an offer: the units that calls wait for per limit, and the slots to renew per lease.

    It is sent after `sent_ns`, gives `returns` back, and reports the `progress` of leases.
    """

    number: int
    sent_ns: int
    waiting: dict[str, tuple[LeasePool, int]]
    slots: dict[str, tuple[ConcurrencyPool, ConcurrencyLease, int]]
    returns: list[dict[str, Any]]
    progress: list[Lease]


class LeaseSync:
    """Synchronizes the leases of an `Admission`. Make one offer at a time: the last must be answered or given up."""

    def __init__(self, admission: Admission, *, clock: str | None = None) -> None:
        self._admission = admission
        self._clock = clock  # its name, for processes that share the clock
        # A heap: when to look at a pool's leases, and how long before that if a heartbeat is due anyway.
        self._turns: list[tuple[int, int, LeasePool, Lease, int]] = []
        self._turn_number = count()  # lease pools have no order
        self._offer_number = count(1)
        self._lost = LostAnswers()
        self._slots: set[ConcurrencyPool] = set()  # those with leases
        self._pools: WeakValueDictionary[str, LeasePool] = WeakValueDictionary()  # by limit
        self._followed: deque[LeasePool] = deque()  # those with leases of units, in rotation
        self._untold: list[dict[str, Any]] = []  # returns that no answered offer has carried
        self._untold_ns = 0  # the time that their ages refer to
        self.most = MOST  # entries per list in the next offer: halved after one that was not answered

    def turn_ns(self) -> int | None:
        """Return when the next lease has to go back or is over; spent leases need no heartbeat."""
        with self._admission.lock:
            while self._turns and self._turns[0][3].is_spent:
                self._admission.due.add(heappop(self._turns)[2])
            return self._turns[0][0] if self._turns else None

    def owes(self) -> bool:
        """Return whether there are leases to give back that the last offer did not carry."""
        with self._admission.lock:
            return bool(self._untold or self._admission.due)

    def offer(self, *, stopping: bool = False) -> tuple[dict[str, Any], LeaseRequest]:
        """Build the message with what this process requests and gives back."""
        admission = self._admission
        with admission.lock:
            now = admission.clock()
            returns = self._returns(now, everything=stopping)
            held = self._holds(now, everything=stopping)
            demands = [] if stopping else self._demands(now)
            looked_at = self._take_turns()
            progress = self._progress([lease_pool for lease_pool, _, waiting, _ in demands if waiting], looked_at)
            follow = _outdated(looked_at, {lease_pool for lease_pool, *_ in demands}, now)
            reports = [_progress(lease) for lease in progress]
        number = next(self._offer_number)
        message: dict[str, Any] = {
            "number": number,
            "acquire": [
                {
                    "limit": lease_pool.limit.id,
                    "units": units,
                    "waiting": waiting,
                    "least": lease_pool.tell_least(now),
                    "life_ms": life_ns // MS,
                    **({"debt": min(units, lease_pool.debt)} if lease_pool.is_owing else {}),
                }
                for lease_pool, units, waiting, life_ns in demands
            ],
            "return": returns,
        }
        if lost := self._lost.tell(now):
            message["lost"] = lost
        if reports:
            message["progress"] = reports
        if follow:
            message["follow"] = follow
        if held:
            message["hold"] = [
                {"lease": name, "units": units, "used": lease.reserved} for name, (_, lease, units) in held.items()
            ]
        if self._clock is not None:
            message["clock"] = {"name": self._clock, "us": now // 1000}
        waited = {lease_pool.limit.id: (lease_pool, waiting) for lease_pool, _, waiting, _ in demands}
        return message, LeaseRequest(number, now, waited, held, returns, progress)

    def give_up(self, request: LeaseRequest) -> None:
        """Note that an offer was not answered: the next one repeats its requests and returns.

        The caller holds the lock. Repeated returns of a lease count once. The answer must no longer be applied: what it
        grants goes back.
        """
        self._lost.add(request.number, self._admission.clock())
        self.most = max(self.most // 2, _LEAST)
        self._admission.asking.update(lease_pool for lease_pool, _ in request.waiting.values())
        self._put_off(request.returns, request.sent_ns)
        for lease in request.progress:
            lease.progress_told = None

    def take(self, answer: dict[str, Any], request: LeaseRequest) -> None:
        """Apply what the answer grants and denies. The caller holds the lock.

        Remaining times count from before the offer was sent, so they never end later than the key service thinks.
        Waiting times count from now, so they never end sooner, or from the clock reading in the offer.
        """
        admission = self._admission
        now = admission.clock()
        sent_ns = request.sent_ns
        self.most = min(self.most * 2, MOST)
        self._keep(answer, sent_ns, request)
        for grant in answer["grants"]:
            self._grant(grant, request, now, alive=answer["replicas"])
        for denial in answer["denials"]:
            lease_pool, _ = request.waiting[denial["limit"]]
            lease_pool.small = denial["small"]
            lease_pool.note_left(denial["remaining"], denial.get("replicas", answer["replicas"]), now)
            lease_pool.deny(now, sent_ns + denial["retry_ms"] * MS, sent_ns + denial["reset_ms"] * MS)
        for figure in answer.get("unused", ()):
            if (held := self._pools.get(figure["limit"])) is not None:
                _tell_unused(held, figure["units"], figure["told_ms"], sent_ns, now)
        for number in answer.get("wanted", ()):
            if (held := self._pools.get(number)) is not None:
                held.call_back()
                admission.due.add(held)
                if not held.is_crowded:
                    admission.wake()
        if answer.get("repeated"):  # the message was sent twice, and the first answer did not arrive
            self._lose(request)
        else:
            self._wake(request, {grant["limit"] for grant in answer["grants"]}, now)
        if not answer["more"]:
            admission.authority_ns = sent_ns + answer["t_max_ms"] * MS

    def _lose(self, request: LeaseRequest) -> None:
        """Request again what another answer granted; that goes back."""
        self._lost.add(request.number, self._admission.clock())
        for lease_pool, _ in request.waiting.values():
            self._admission.ask(lease_pool)

    def _grant(self, grant: dict[str, Any], request: LeaseRequest, now: int, *, alive: int) -> None:
        """Add granted units."""
        sent_ns = request.sent_ns
        lease_pool, waiting = request.waiting[grant["limit"]]
        lease_pool.small = grant["small"]
        replicas = grant.get("replicas", alive)  # older key services count all that are alive
        lease_pool.note_left(grant["remaining"], replicas, now)
        lease_pool.share = lease_pool.limit.amount // replicas
        lease_pool.rest = grant["remaining"] // (1 if lease_pool.limit.period else replicas)
        lease = lease_pool.KIND(
            grant["lease"],
            grant["units"],
            sent_ns + grant["left_ms"] * MS,
            now_ns=now,
            start_ns=_start(grant, now, sent_ns),
            exact=grant["exact"],
        )
        lease.is_ahead = lease.exact and lease.units > waiting
        reset_ms = grant["reset_ms"]
        retry_ns = None if grant["units"] >= waiting else sent_ns + grant.get("retry_ms", reset_ms) * MS
        lease_pool.grant(lease, now, reset_ns=sent_ns + reset_ms * MS, retry_ns=retry_ns)
        unused = grant.get("unused", grant["remaining"])  # older key services do not know what others hold
        if isinstance(lease_pool, ConcurrencyPool):
            lease_pool.note_free(unused, now)
        _tell_unused(lease_pool, unused, grant.get("told_ms", 0), sent_ns, now)
        self._hold(lease_pool, lease, lease.deadline_ns - lease.margin_ns // 2)

    def _demands(self, now: int) -> list[tuple[LeasePool, int, int, int]]:
        """Return what to request: the pool, the units, how many of them calls wait for, and their lifetime."""
        admission = self._admission
        asking = list(islice(admission.asking, self.most))
        admission.asking.difference_update(asking)
        if admission.asking:
            admission.wake()
        asking = [one for one in asking if one.is_owing or not one.is_denied(now)]
        wanted = [(lease_pool, *lease_pool.demand(now)) for lease_pool in asking]
        return [one for one in wanted if one[1]]

    def _wake(self, request: LeaseRequest, granted: Collection[str], now: int) -> None:
        """Let waiting calls decide again if the answer has news for them, and request the rest at once."""
        admission = self._admission
        for number, (lease_pool, _) in request.waiting.items():
            if number not in granted or lease_pool.is_denied(now):
                lease_pool.denied_ns = request.sent_ns
                lease_pool.wake_all()
                continue
            lease_pool.wake_covered(now)
            if lease_pool.missing(now):
                admission.ask(lease_pool)

    def _keep(self, answer: dict[str, Any], sent_ns: int, request: LeaseRequest) -> None:
        """Record which leases of slots were renewed, and drop those that the key service no longer knows."""
        kept = {held["lease"]: held for held in answer.get("held", ())}
        for number, (slots, lease, units) in request.slots.items():
            if number in kept:
                slots.small = kept[number]["small"]
                lease.renew(units, sent_ns, sent_ns + kept[number]["left_ms"] * MS)
                slots.note_free(kept[number].get("remaining"), sent_ns)
            else:
                slots.lose(lease)

    def _hold(self, lease_pool: LeasePool, lease: Lease, turn_ns: int) -> None:
        self._admission.held.add(lease_pool)
        self._pools[lease_pool.limit.id] = lease_pool
        if isinstance(lease_pool, ConcurrencyPool):
            self._slots.add(lease_pool)
        else:
            if not lease_pool.is_followed:
                lease_pool.is_followed = True
                self._followed.append(lease_pool)
            over_ns = lease.deadline_ns if lease.exact and not lease.is_ahead else lease.deadline_ns + _SOON_NS
            early_ns = lease.margin_ns // 2
            if lease_pool.is_crowded or (lease.is_ahead and lease_pool.roomy):  # wait for a regular heartbeat
                turn_ns, early_ns, over_ns = turn_ns + _SOON_NS, early_ns + _SOON_NS, lease.deadline_ns + _SOON_NS
            heappush(self._turns, (turn_ns, next(self._turn_number), lease_pool, lease, early_ns))
            heappush(self._turns, (over_ns, next(self._turn_number), lease_pool, lease, 0))

    def _returns(self, now: int, *, everything: bool) -> list[dict[str, Any]]:
        """Return leases that are due; with very many keys, checking all of them would delay calls."""
        admission = self._admission
        while self._turns and self._turns[0][0] - self._turns[0][4] <= now:
            admission.due.add(heappop(self._turns)[2])
        admission.due |= admission.held if everything else self._slots
        admission.due |= admission.asking & admission.held  # their leases may be spent already
        returns = self._take_untold(now)
        while admission.key_cache.lowered:
            returns += admission.key_cache.lowered.pop().give_back(now, everything=True)
        while admission.due and len(returns) < self.most:
            lease_pool = admission.due.pop()
            back = lease_pool.give_back(now, everything=everything)
            returns += back
            if lease_pool not in self._slots and (back or lease_pool.renews(now)):  # busy callers need another
                admission.asking.add(lease_pool)
            if lease_pool.is_empty:
                admission.held.discard(lease_pool)
                self._slots.discard(lease_pool)  # if it is one
        self._put_off(returns[self.most :], now)
        if admission.due or self._untold:
            admission.wake()
        return returns[: self.most]

    def _take_turns(self) -> list[LeasePool]:
        """Return the lease pools to look at; if there are very many, different ones each time."""
        looked_at = []
        for _ in range(min(self.most, len(self._followed))):
            lease_pool = self._followed.popleft()
            lease_pool.is_followed = not lease_pool.is_empty
            if lease_pool.is_followed:
                self._followed.append(lease_pool)
                looked_at.append(lease_pool)
        return looked_at

    def _progress(self, short: Sequence[LeasePool], looked_at: Sequence[LeasePool]) -> list[Lease]:
        """Choose the leases whose progress to report, first those of pools that are `short` of units for waiting calls.

        For these, the key service needs to know what may come back. For quotas, others see usage before leases end.
        """
        reported = [*short, *(one for one in looked_at if (one.limit.window_s or PROGRESS_S) >= PROGRESS_S)]
        leases = {lease.id: lease for lease_pool in reported for lease in lease_pool.untold()}
        return list(leases.values())[: self.most]

    def _put_off(self, returns: list[dict[str, Any]], now: int) -> None:
        self._untold, self._untold_ns = self._take_untold(now) + returns, now

    def _take_untold(self, now: int) -> list[dict[str, Any]]:
        """Remove and return the returns to repeat, with their ages relative to now."""
        later_us = now // 1000 - self._untold_ns // 1000
        untold, self._untold = self._untold, []
        return [one | {"ago_us": one["ago_us"] + later_us} if "ago_us" in one else one for one in untold]

    def _holds(self, now: int, *, everything: bool) -> dict[str, tuple[ConcurrencyPool, ConcurrencyLease, int]]:
        """Choose the leases of slots to renew, those that end soonest first."""
        for slots in self._slots:
            if slots.owes(now):
                self._admission.asking.add(slots)
        due = [
            (lease.deadline_ns, slots, lease)
            for slots in self._slots
            for lease in slots.hold(now, everything=everything)
        ]
        due.sort(key=lambda item: item[0])
        if len(due) > self.most:
            self._admission.wake()
        return {lease.id: (slots, lease, lease.units) for _, slots, lease in due[: self.most]}


def _tell_unused(lease_pool: LeasePool, units: int, told_ms: int, sent_ns: int, now: int) -> None:
    """Record the unused units of a limit, reported by the key service about halfway through the exchange."""
    lease_pool.tell_unused(units, (sent_ns + now) // 2 - told_ms * MS, now)


def _outdated(looked_at: Sequence[LeasePool], asking: Collection[LeasePool], now: int) -> list[str]:
    """Return limits of which to ask what is unused: some of which that may be outdated, unless units are requested."""
    outdated = [pool for pool in looked_at if pool not in asking and pool.is_outdated(now)]
    return [pool.limit.id for pool in nsmallest(_FOLLOWED_MOST, outdated, key=lambda pool: pool.unused.told_ns)]


def _progress(lease: Lease) -> dict[str, Any]:
    """Build the progress report of a lease, and mark it as reported."""
    lease.progress_told = spent, reserved = lease.progress
    return {"lease": lease.id, "spent": spent, "reserved": reserved}


def _start(grant: dict[str, Any], now: int, sent_ns: int) -> int:
    """Return the time from which a grant may be spent; 0 for at once."""
    wait_us = grant.get("wait_us", 0)  # older key services send none
    by_now = now + grant["start_us"] * 1000 if grant["start_us"] else 0
    return max(by_now, (sent_ns // 1000 + wait_us) * 1000 if wait_us else 0)
