"""The decision: admit or refuse a call, from what this process holds, under one lock and without I/O."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock

from keygauge.call import Outcome
from keygauge.clock import SECOND, now_ns
from keygauge.limits.key_cache import Key, Keyring
from keygauge.limits.lease import Lease
from keygauge.limits.lease_pool import Allowance


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a call is refused: the outcome counted, the code told, and when to come again."""

    outcome: Outcome
    code: str
    limit: str | None = None
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Dry:
    """The leases of these limits do not cover the call: `ask` for more, then decide again."""

    wanted: tuple[tuple[Allowance, int], ...]


@dataclass(frozen=True, slots=True)
class Soon:
    """A unit was granted that may be spent from a moment on: wait, then decide again."""

    at_ns: int


@dataclass(frozen=True, slots=True)
class Reservation:
    """What an admitted call took, to be settled at its end; `noted` are limits that it passed all the same."""

    parts: tuple[tuple[Allowance, Lease, int], ...]
    noted: tuple[tuple[str, Outcome], ...] = ()


Claim = tuple[Allowance, int]  # units that a call takes of a limit

UNKNOWN = Refusal("unknown", "key_invalid")
REVOKED = Refusal("revoked", "key_invalid")
EXPIRED = Refusal("expired", "key_invalid")
WRONG_IP = Refusal("forbidden", "ip_not_allowed")
WRONG_ROUTE = Refusal("forbidden", "endpoint_not_allowed")
WRONG_MODEL = Refusal("forbidden", "model_not_allowed")
UNAVAILABLE = Refusal("unavailable", "key_service_unavailable", retry_after_s=1)


class Admission:
    """Everything the decision rests on, and its lock.

    `authority_ns` is when the word of the key service ends: past it nothing that is cached may be admitted (G4).
    A call is admitted at the moment at which the clock was read for it.
    """

    def __init__(self, *, wake: Callable[[], None], clock: Callable[[], int] = now_ns) -> None:
        self.lock = Lock()
        self.wake = wake  # makes the next beat come at once
        self.clock = clock
        self.keyring = Keyring()
        self.authority_ns = 0
        self.away = False  # the last beat was not answered
        self.asking: set[Allowance] = set()  # those that the next beat asks more for
        self.held: set[Allowance] = set()  # those with leases
        self.due: set[Allowance] = set()  # of these, those with something to tell before a lease ends

    def check(self, key: Key, secret: int, wall_ns: int) -> Refusal | None:
        """Return why this key, or this secret of it, may not be used now. `wall_ns` is unix time in nanoseconds."""
        if key.status != "active" or secret not in key.secrets:
            return REVOKED
        secret_expires_ns = key.secrets[secret]
        if secret_expires_ns is not None and wall_ns >= secret_expires_ns:
            return REVOKED
        if key.expires_ns is not None and wall_ns >= key.expires_ns:
            return EXPIRED
        return None

    def admit(self, key: Key, since_ns: int) -> Refusal | Dry | Soon | None:
        """Spend one unit of every limit of a key whose limits are all plain, or of none; None is yes.

        The call came at `since_ns`.
        """
        allowances = key.allowances
        with self.lock:
            now = self.clock()
            if now >= self.authority_ns:
                return UNAVAILABLE
            leases = []
            for allowance in allowances:
                for lease in allowance.leases:
                    if lease.available > 0 and lease.start_ns <= now < lease.deadline_ns:
                        leases.append(lease)
                        break
                else:
                    return self._short([(allowance, 1) for allowance in allowances], now)
            for allowance, lease in zip(allowances, leases):  # noqa: B905 - as long as each other
                lease.available -= 1
                allowance.spent += 1
                if lease.exact:
                    lease.note(now, since_ns)
                    self._tell(allowance)
                elif (
                    not allowance.asked
                    and lease.available * 2 < lease.units
                    and lease is allowance.leases[-1]  # the older ones are spent first
                    and lease.units > 1
                ):
                    self._ask(allowance)
            return None

    def reserve(self, claims: Sequence[Claim], since_ns: int) -> Refusal | Dry | Soon | Reservation:
        """Take units of every limit, or of none, for a call that came at `since_ns`."""
        with self.lock:
            now = self.clock()
            if now >= self.authority_ns:
                return UNAVAILABLE
            for allowance, units in claims:
                if units > allowance.limit.amount > 0 and not allowance.limit.dry_run:
                    return Refusal(allowance.limit.refusal, "request_exceeds_limit", allowance.limit.name)
            taken = [allowance.gather(units, now) for allowance, units in claims]
            missing = [claim for claim, parts in zip(claims, taken, strict=True) if parts is None]
            noted = [note for allowance, units in missing if (note := self._note(allowance, units, now))]
            if len(noted) < len(missing):
                return self._short([claim for claim in missing if not self._passes(*claim)], now)
            return self._take(claims, taken, tuple(noted), now, since_ns)

    def settle(self, reservation: Reservation, *, tokens: int | None, cost_nanousd: int | None = None) -> None:
        """End a call's reservation: what it used is known now, None where it is not."""
        used = {"token": tokens, "nanousd": cost_nanousd, "concurrent": 0}
        with self.lock:
            now = self.clock()
            left: dict[Allowance, int | None] = {}
            for allowance, lease, units in reservation.parts:
                rest = left.setdefault(allowance, used[allowance.limit.unit])
                part = units if rest is None else min(units, rest)
                lease.settle(units, part, now)
                if lease.exact or allowance.closing:
                    self.due.add(allowance)
                left[allowance] = None if rest is None else rest - part
            for allowance, rest in left.items():
                if rest:
                    self._charge(allowance, rest, now)
                if allowance.ended():
                    self.wake()

    def ask(self, dry: Dry) -> None:
        """Have the next beat ask for more of limits that a request waits for."""
        with self.lock:
            for allowance, units in dry.wanted:
                allowance.waiting += units
                self._ask(allowance)

    def owes(self) -> bool:
        """Tell whether calls used more than they had reserved, and no lease has paid for it."""
        with self.lock:
            return any(allowance.debt for allowance in self.asking)

    def _ask(self, allowance: Allowance) -> None:
        allowance.asked = True
        self.asking.add(allowance)
        self.wake()

    def _tell(self, allowance: Allowance) -> None:
        """Have the next beat tell when a unit for use at once was spent."""
        self.due.add(allowance)
        self.wake()

    def _take(
        self,
        claims: Sequence[Claim],
        taken: Sequence[list[tuple[Lease, int]] | None],
        noted: tuple[tuple[str, Outcome], ...],
        now: int,
        since_ns: int,
    ) -> Reservation:
        reserved = []
        for (allowance, units), parts in zip(claims, taken, strict=True):
            if parts is None:
                lease = self._pass(allowance, units, now)
                if lease is not None:
                    reserved.append((allowance, lease, units))
                continue
            settles = allowance.limit.unit != "request"
            for lease, part in parts:
                lease.spend(part, reserve=settles)
                if lease.exact:
                    lease.note(now, since_ns)
                if settles:
                    reserved.append((allowance, lease, part))
                if lease.exact and not lease.reserved:
                    self._tell(allowance)
            allowance.count(units, now)
            if not allowance.asked and allowance.is_low(parts[-1][0], now):
                self._ask(allowance)
        return Reservation(tuple(reserved), noted)

    def _passes(self, allowance: Allowance, units: int) -> bool:
        """Tell whether a call may pass a limit that has no lease for it: it is tried only, or safe without."""
        limit = allowance.limit
        return limit.dry_run or (self.away and limit.when_down == "safe" and units <= allowance.share)

    def _note(self, allowance: Allowance, units: int, now: int) -> tuple[str, Outcome] | None:
        """Say what to count of a limit that a call passes without a lease; None where it may not pass."""
        if not self._passes(allowance, units):
            return None
        if not allowance.limit.dry_run:
            return allowance.limit.name, "degraded"
        refuses = allowance.refuses(now) or units > allowance.limit.amount
        return allowance.limit.name, "would_limit" if refuses else "admitted"

    def _pass(self, allowance: Allowance, units: int, now: int) -> Lease | None:
        """Let a call pass without a lease; return what stands for one where its end is of interest."""
        if not allowance.limit.dry_run:
            allowance.share -= units
            return None
        asks = now >= allowance.denied_until_ns and units <= allowance.limit.amount
        if asks:
            self._ask(allowance)
        return allowance.overdraw(units, now, asks=asks)

    def _charge(self, allowance: Allowance, units: int, now: int) -> None:
        """Take what a call used beyond its reservation, now or from the next grant."""
        for lease in allowance.leases:
            if lease.is_live(now):
                part = min(units, lease.available)
                lease.available -= part
                units -= part
        allowance.debt += units
        if units:
            self._ask(allowance)

    def _short(self, claims: Sequence[Claim], now: int) -> Refusal | Dry | Soon:
        """Say what becomes of a call that leases do not cover."""
        dry, start = [], 0
        for allowance, units in claims:
            if allowance.gather(units, now) is None:
                begins = allowance.claim(now) if units == 1 else None
                start = max(start, begins or 0)
                if begins is None:
                    dry.append((allowance, units))
        if not dry:
            return Soon(start)
        denied = [allowance for allowance, _ in dry if now < allowance.denied_until_ns]
        if denied:
            if all(allowance.is_patient(now) for allowance in denied):
                return Soon(max(allowance.denied_until_ns for allowance in denied))
            last = max(denied, key=lambda allowance: allowance.retry_ns)
            return Refusal(
                outcome=last.limit.refusal,
                code=last.limit.refusal_code,
                limit=last.limit.name,
                retry_after_s=max(last.retry_ns - now, 0) / SECOND,
            )
        return Dry(tuple(dry))
