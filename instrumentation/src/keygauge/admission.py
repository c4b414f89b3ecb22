"""The decision: admit or refuse a call, from what this process holds, under one lock and without I/O."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

from keygauge.call import Outcome
from keygauge.clock import SECOND, now_ns
from keygauge.keyring import Key, Keyring
from keygauge.limit import Allowance


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

    allowances: tuple[Allowance, ...]


@dataclass(frozen=True, slots=True)
class Cold:
    """Nothing is known of this credential yet: ask the key service, then decide again."""


UNKNOWN = Refusal("unknown", "key_invalid")
REVOKED = Refusal("revoked", "key_invalid")
EXPIRED = Refusal("expired", "key_invalid")
WRONG_IP = Refusal("forbidden", "ip_not_allowed")
WRONG_ROUTE = Refusal("forbidden", "endpoint_not_allowed")
UNAVAILABLE = Refusal("unavailable", "key_service_unavailable", retry_after_s=1)
COLD = Cold()


class Admission:
    """Everything the decision rests on, and its lock.

    `authority_ns` is when the word of the key service ends: past it nothing that is cached may be admitted (G4).
    """

    def __init__(self, *, wake: Callable[[], None]) -> None:
        self.lock = Lock()
        self.wake = wake  # makes the next beat come at once
        self.keyring = Keyring()
        self.authority_ns = 0
        self.asking: set[Allowance] = set()  # those that the next beat asks more for
        self.held: set[Allowance] = set()  # those with leases

    def recognise(self, digest: bytes) -> tuple[Key, int] | Refusal | Cold:
        """Return the key of a credential, whatever its state, and the number of the secret."""
        keyring = self.keyring
        credential = keyring.credentials.get(digest)
        key = keyring.keys.get(credential[0]) if credential else None
        if credential is None or key is None:
            return UNKNOWN if keyring.is_unknown(digest, now_ns()) else COLD
        return key, credential[1]

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

    def admit(self, key: Key) -> Refusal | Dry | None:
        """Spend one request of every limit of the key, or of none; None is yes."""
        allowances = key.allowances
        with self.lock:
            now = now_ns()
            if now >= self.authority_ns:
                return UNAVAILABLE
            leases = [allowance.find(1, now) for allowance in allowances]
            if None in leases:
                return self._shortage(key, now)
            for allowance, lease in zip(allowances, leases):  # noqa: B905 - as long as each other
                lease.available -= 1  # type: ignore[union-attr]  # none of them is None
                allowance.spent += 1
                if not allowance.asked and lease.available * 2 < lease.units and lease.units > 1:  # type: ignore[union-attr]  # as above
                    self._ask(allowance)
            return None

    def ask(self, dry: Dry) -> None:
        """Have the next beat ask for more of limits that a request waits for."""
        with self.lock:
            for allowance in dry.allowances:
                allowance.waiting += 1
                self._ask(allowance)

    def _ask(self, allowance: Allowance) -> None:
        allowance.asked = True
        self.asking.add(allowance)
        self.wake()

    def _shortage(self, key: Key, now: int) -> Refusal | Dry:
        dry = [allowance for allowance in key.allowances if allowance.find(1, now) is None]
        denied = [allowance for allowance in dry if now < allowance.denied_until_ns]
        if denied:
            last = max(denied, key=lambda allowance: allowance.retry_ns)
            return Refusal(
                outcome=last.limit.refusal,
                code="rate_limited" if last.limit.window_s else "quota_exhausted",
                limit=last.limit.name,
                retry_after_s=max(last.retry_ns - now, 0) / SECOND,
            )
        return Dry(tuple(dry))
