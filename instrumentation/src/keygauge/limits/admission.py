"""Decisions to admit or refuse a call, from what this process holds, under one lock and without I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from threading import Lock

from keygauge.call import Outcome
from keygauge.clock import SECOND, now_ns
from keygauge.limits.key_cache import Key, KeyCache
from keygauge.limits.lease import Lease
from keygauge.limits.lease_pool import NEVER, LeasePool
from keygauge.limits.limit import MEASURED
from keygauge.limits.refusal import (
    DELETED,
    DISABLED,
    EXPIRED,
    PAUSED,
    REPLACED,
    SUSPENDED,
    UNAVAILABLE,
    Refusal,
)
from keygauge.limits.waiter import Wait, Waiter

_STATUS = {"disabled": DISABLED, "deleted": DELETED, "suspended": SUSPENDED}
_MOST_WAITERS = 10_000  # calls waiting for units; further calls get a 503


@dataclass(frozen=True, slots=True)
class Short:
    """A call that the leases do not cover: `wait`, then decide again with this `waiter`."""

    wait: Wait
    waiter: Waiter


@dataclass(frozen=True, slots=True)
class Reservation:
    """Units that an admitted call took, settled when it ends; `noted` lists limits that it passed without a lease."""

    parts: tuple[tuple[LeasePool, Lease, int], ...]
    noted: tuple[tuple[str, Outcome], ...] = ()

    def again(self) -> Reservation:
        """Return a reservation of zero units of the same limits; settling it charges them with all further usage."""
        return Reservation(tuple((lease_pool, lease, 0) for lease_pool, lease, _ in self._used()))

    def split(self) -> tuple[Reservation, Reservation]:
        """Return what to settle while the call goes on, and what to settle when it ends."""
        held = (part for part in self.parts if part[0].limit.unit not in MEASURED)
        return Reservation(tuple(self._used())), Reservation((*held, *self.again().parts))

    def _used(self) -> list[tuple[LeasePool, Lease, int]]:
        return [part for part in self.parts if part[0].limit.unit in MEASURED]


Claim = tuple[LeasePool, int]  # units that a call takes from a limit


class Admission:
    """The state that decisions use, and its lock.

    After `authority_ns`, what the key service said last has expired and nothing may be admitted from the cache (G4).
    A call is admitted at the time at which the clock was read for it.
    """

    def __init__(self, *, wake: Callable[[], None], clock: Callable[[], int] = now_ns) -> None:
        self.lock = Lock()
        self.wake = wake  # sends the next heartbeat at once
        self.clock = clock
        self.key_cache = KeyCache()
        self.authority_ns = 0
        self.away = False  # the last heartbeat was not answered
        self.asking: set[LeasePool] = set()  # those that the next heartbeat requests units for
        self._waiting: dict[Waiter, Sequence[Claim]] = {}
        self.held: set[LeasePool] = set()  # those that hold leases
        self.due: set[LeasePool] = set()  # of these, those with something to report before a lease ends

    def check(self, key: Key, secret: int, wall_ns: int) -> Refusal | None:
        """Return why this key, or this secret of it, may not be used now; `wall_ns` is Unix time in nanoseconds.

        The caller has presented the right secret, so it may learn the state of the key.
        """
        if key.status == "deleted":  # then no newer secret works either
            return DELETED
        if secret not in key.secrets:
            return REPLACED
        secret_expires_ns = key.secrets[secret]
        if secret_expires_ns is not None and wall_ns >= secret_expires_ns:
            return replace(REPLACED, since_s=secret_expires_ns // SECOND)
        if key.status != "active":
            return _STATUS.get(key.status, DISABLED)
        if key.expires_ns is not None and wall_ns >= key.expires_ns:
            return EXPIRED
        return None

    def admit(self, key: Key, since_ns: int, waiter: Waiter | None = None) -> Refusal | Short | None:
        """Spend one unit of each limit of a key whose limits are all plain, or of none; None means admitted.

        The call arrived at `since_ns`; `waiter` is its waiter if it has waited.
        """
        lease_pools = key.lease_pools
        with self.lock:
            now = self.clock()
            if now >= self.authority_ns:
                return self._refuse(self._outdated(), waiter)
            leases = []
            for lease_pool in lease_pools:
                if lease_pool.waiting:
                    return self._queue(lease_pools, now, since_ns, waiter)
                for lease in lease_pool.leases:
                    if lease.available > 0 and lease.start_ns <= now < lease.deadline_ns:
                        leases.append(lease)
                        break
                else:
                    return self._queue(lease_pools, now, since_ns, waiter)
            for lease_pool, lease in zip(lease_pools, leases):  # noqa: B905 - of equal length
                lease.available -= 1
                spent = lease_pool.spent = lease_pool.spent + 1
                if lease.exact:
                    lease.note(now, since_ns)
                    self._tell(lease_pool, lease)
                if spent >= lease_pool.ask_at:
                    self._refill(lease_pool, now)
            return None

    def reserve(
        self, claims: Sequence[Claim], since_ns: int, waiter: Waiter | None = None
    ) -> Refusal | Short | Reservation:
        """Take units of every limit, or of none, for a call that arrived at `since_ns`; `waiter` as in `admit`."""
        with self.lock:
            now = self.clock()
            if now >= self.authority_ns:
                return self._refuse(self._outdated(), waiter)
            return self._reserve(claims, now, since_ns, waiter)

    def refuse_any(self, lease_pools: Iterable[LeasePool]) -> Refusal | None:
        """Return why these limits refuse every call now, of any kind and size; scoped limits are ignored."""
        with self.lock:
            now = self.clock()
            if now >= self.authority_ns:
                return self._outdated()
            denied = [
                lease_pool
                for lease_pool in lease_pools
                if lease_pool.denies(now) and not lease_pool.limit.is_scoped and not self._passes(lease_pool, 1)
            ]
            return _of_denied(denied, now) if denied else None

    def leave(self, waiter: Waiter) -> None:
        """Take a call out of the queues because it was refused, gave up, or is gone."""
        with self.lock:
            self._leave(waiter)

    def fail(self) -> None:
        """Note that the key service did not answer; waiting calls decide again."""
        with self.lock:
            self.away = True
            for waiter in self._waiting:
                waiter.wake()

    def settle(self, reservation: Reservation, used: Mapping[object, int | None]) -> None:
        """End a call's reservation: charge what it `used` per measure, or all that was reserved if that is unknown."""
        with self.lock:
            now = self.clock()
            left: dict[LeasePool, int | None] = {}
            for lease_pool, lease, units in reservation.parts:
                rest = left.setdefault(lease_pool, _used(lease_pool, used))
                part = units if rest is None else min(units, rest)
                lease.settle(units, part, now)
                if lease.exact or lease_pool.closing:
                    self.due.add(lease_pool)
                if lease_pool.ended(units - part):
                    self.wake()
                left[lease_pool] = None if rest is None else rest - part
            for lease_pool, rest in left.items():
                if rest and lease_pool.charge(rest, now):
                    self.ask(lease_pool)
                lease_pool.pay(now)
                lease_pool.wake_covered(now)

    def owes(self) -> bool:
        """Return whether calls used more than they had reserved and no lease has covered it yet."""
        with self.lock:
            return any(lease_pool.debt for lease_pool in self.asking)

    def ask(self, lease_pool: LeasePool) -> None:
        """Request units with the next heartbeat, and send it at once unless very many processes would do so."""
        self.asking.add(lease_pool)
        self.due.add(lease_pool)  # return what ended unspent before requesting more
        if not lease_pool.is_crowded:
            self.wake()

    def _refill(self, lease_pool: LeasePool, now: int) -> None:
        """Request more before a call has to wait: with the next regular heartbeat if what is held lasts until then."""
        if lease_pool.is_urgent(now) and not lease_pool.is_crowded:
            self.wake()
        self.asking.add(lease_pool)

    def _tell(self, lease_pool: LeasePool, lease: Lease) -> None:
        """Report with a heartbeat when a unit was spent, at once if others may wait for that."""
        self.due.add(lease_pool)
        if not (lease_pool.roomy or lease_pool.is_crowded or lease.is_ahead):
            self.wake()

    def _queue(
        self, lease_pools: Iterable[LeasePool], now: int, since_ns: int, waiter: Waiter | None
    ) -> Refusal | Short | None:
        decision = self._reserve([(lease_pool, 1) for lease_pool in lease_pools], now, since_ns, waiter)
        return None if isinstance(decision, Reservation) else decision

    def _reserve(
        self, claims: Sequence[Claim], now: int, since_ns: int, waiter: Waiter | None
    ) -> Refusal | Short | Reservation:
        for lease_pool, units in claims:
            if units > lease_pool.limit.amount > 0 and not lease_pool.limit.dry_run:
                limit = lease_pool.limit
                refusal = Refusal(limit.refusal, "request_exceeds_limit", limit.name, whose=limit.whose)
                return self._refuse(refusal, waiter)
        taken = [lease_pool.gather(units, now, waiter) for lease_pool, units in claims]
        missing = [claim for claim, parts in zip(claims, taken, strict=True) if parts is None]
        noted = [note for lease_pool, units in missing if (note := self._note(lease_pool, units, now))]
        if len(noted) < len(missing):
            return self._short(claims, [claim for claim in missing if not self._passes(*claim)], now, waiter)
        reservation = self._take(claims, taken, tuple(noted), now, since_ns)
        self._leave(waiter, now)
        return reservation

    def _outdated(self) -> Refusal:
        """Return why nothing may be admitted: the key service is away, or else this process was paused."""
        return UNAVAILABLE if self.away else PAUSED

    def _refuse(self, refusal: Refusal, waiter: Waiter | None) -> Refusal:
        self._leave(waiter)
        return refusal

    def _enter(self, waiter: Waiter, claims: Sequence[Claim]) -> None:
        """Add a call to the queues of all its limits; if it is already there, it keeps its place."""
        held = {lease_pool for lease_pool, _ in claims if not lease_pool.limit.dry_run}
        for lease_pool, _ in self._waiting.get(waiter, ()):
            if lease_pool not in held:
                lease_pool.leave(waiter, self.clock())
        self._waiting[waiter] = claims
        for lease_pool, units in claims:
            if lease_pool in held:
                lease_pool.enter(waiter, units)

    def _leave(self, waiter: Waiter | None, now: int | None = None) -> None:
        if waiter is not None and (claims := self._waiting.pop(waiter, ())):
            now = self.clock() if now is None else now
            for lease_pool, _ in claims:
                lease_pool.leave(waiter, now)

    def _take(
        self,
        claims: Sequence[Claim],
        taken: Sequence[list[tuple[Lease, int]] | None],
        noted: tuple[tuple[str, Outcome], ...],
        now: int,
        since_ns: int,
    ) -> Reservation:
        reserved = []
        for (lease_pool, units), parts in zip(claims, taken, strict=True):
            if parts is None:
                lease = self._pass(lease_pool, units, now)
                if lease is not None:
                    reserved.append((lease_pool, lease, units))
                continue
            settles = lease_pool.limit.unit != "request"
            for lease, part in parts:
                lease.spend(part, reserve=settles)
                if lease.exact:
                    lease.note(now, since_ns)
                if settles:
                    reserved.append((lease_pool, lease, part))
                if lease.exact and not lease.reserved:
                    self._tell(lease_pool, lease)
            lease_pool.count(units, now)
            if lease_pool.is_low(now):
                self._refill(lease_pool, now)
        return Reservation(tuple(reserved), noted)

    def _passes(self, lease_pool: LeasePool, units: int) -> bool:
        """Return whether a call may pass a limit without a lease: the limit is a dry run, or safe without one."""
        limit = lease_pool.limit
        return limit.dry_run or (self.away and limit.when_down == "safe" and units <= lease_pool.share)

    def _note(self, lease_pool: LeasePool, units: int, now: int) -> tuple[str, Outcome] | None:
        """Return the outcome to count for a limit that a call passes without a lease; None if it may not pass."""
        if not self._passes(lease_pool, units):
            return None
        if not lease_pool.limit.dry_run:
            return lease_pool.limit.name, "degraded"
        refuses = lease_pool.refuses(now) or units > lease_pool.limit.amount
        return lease_pool.limit.name, "would_limit" if refuses else "admitted"

    def _pass(self, lease_pool: LeasePool, units: int, now: int) -> Lease | None:
        """Let a call pass without a lease; return a stand-in for one if the end of the call matters."""
        if not lease_pool.limit.dry_run:
            lease_pool.share -= units
            return None
        asks = now >= lease_pool.denied_until_ns and units <= lease_pool.limit.amount
        if asks:
            self.ask(lease_pool)
        return lease_pool.overdraw(units, now, asks=asks)

    def _short(
        self, claims: Sequence[Claim], missing: Sequence[Claim], now: int, waiter: Waiter | None
    ) -> Refusal | Short:
        """Decide on a call that leases do not cover: it waits, unless it was denied units for good."""
        if waiter is None:
            if len(self._waiting) >= _MOST_WAITERS:
                return UNAVAILABLE
            waiter = Waiter(now)
        self._enter(waiter, claims)
        waiter.lacks = [lease_pool for lease_pool, _ in missing]
        starts, agains, denied = [], [], []
        for lease_pool, units in missing:
            if (start_ns := lease_pool.starts_ns(waiter, now)) is not None:
                starts.append(start_ns)
            elif lease_pool.asks(units, now):
                self.ask(lease_pool)
            elif (again_ns := lease_pool.again_ns(waiter, now)) is not None:
                agains.append(again_ns)
            else:
                denied.append(lease_pool)
        if denied:
            return self._refuse(_of_denied(denied, now), waiter)
        if agains:
            return Short(waiter.wait(min(agains)), waiter)
        return Short(waiter.wait(max(starts) if len(starts) == len(missing) else None), waiter)


def _of_denied(denied: Iterable[LeasePool], now: int) -> Refusal:
    after_ns, last = max(((_retry_after_ns(one, now), one) for one in denied), key=itemgetter(0))
    after_s, limit = None if after_ns == NEVER else after_ns / SECOND, last.limit
    return Refusal(limit.refusal, limit.refusal_code, limit.name, after_s, limit.whose, is_zero=not limit.amount)


def _retry_after_ns(lease_pool: LeasePool, now: int) -> int:
    return lease_pool.retry_after_ns(now) if lease_pool.limit.amount else NEVER


def _used(lease_pool: LeasePool, used: Mapping[object, int | None]) -> int | None:
    """Return what a call used of a limit, None if unknown; a concurrency slot is free again."""
    limit = lease_pool.limit
    return 0 if limit.unit == "concurrent" else used.get(limit.measure)
