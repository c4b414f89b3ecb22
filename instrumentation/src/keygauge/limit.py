"""A limit, and what this process may still admit of it: leases granted beforehand by the key service."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, Literal

from keygauge.clock import SECOND

Unit = Literal["request", "token", "nanousd", "concurrent"]

_SHORTEST_NS = SECOND // 10  # a rate is not read from less: the first call would look like a flood
_MOST_UNITS = 1_000_000


@dataclass(frozen=True, slots=True)
class Limit:
    """`amount` units in any `window_s` seconds, or per calendar `period` (UTC)."""

    id: str
    name: str
    unit: Unit
    amount: int
    window_s: int | None
    period: str | None
    when_down: str = "closed"
    dry_run: bool = False

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Limit:
        """Read a limit of the beat's answer."""
        return cls(**{field.name: value[field.name] for field in fields(cls) if field.name in value})

    @property
    def refusal(self) -> Literal["limited", "quota"]:
        """Name the outcome when this limit refuses."""
        return "limited" if self.window_s else "quota"


class Lease:
    """Units that this process alone may spend, until `deadline_ns`."""

    __slots__ = ("available", "deadline_ns", "id", "units")

    def __init__(self, lease_id: str, units: int, deadline_ns: int) -> None:
        self.id = lease_id
        self.units = units
        self.available = units
        self.deadline_ns = deadline_ns


class Allowance:
    """What this process holds of one limit. Guarded by the lock of `Admission`."""

    __slots__ = (
        "__weakref__",  # a keyring lets go of it with the last key that has it
        "asked",
        "denied_until_ns",
        "granted_ns",
        "leases",
        "limit",
        "reset_ns",
        "retry_ns",
        "spent",
        "waiting",
    )

    def __init__(self, limit: Limit) -> None:
        self.limit = limit
        self.leases: list[Lease] = []
        self.asked = False  # a beat that asks for more is due or under way
        self.waiting = 0  # requests that found it dry since the last answer
        self.spent = 0  # units since the last grant
        self.granted_ns = 0
        self.denied_until_ns = 0  # the store said no: do not ask again before
        self.retry_ns = 0  # … and the caller need not come before
        self.reset_ns = 0

    def find(self, units: int, now_ns: int) -> Lease | None:
        """Return a lease that covers `units` now."""
        for lease in self.leases:
            if lease.available >= units and now_ns < lease.deadline_ns:
                return lease
        return None

    def available(self, now_ns: int) -> int:
        """Count the units that can be spent now: a lower bound of what the limit has left."""
        total = 0
        for lease in self.leases:
            if now_ns < lease.deadline_ns:
                total += lease.available
        return total

    def grant(self, lease: Lease, now_ns: int, reset_ns: int) -> None:
        """Take a granted lease in; those that are spent or past their deadline go."""
        self.leases = [held for held in self.leases if held.available and now_ns < held.deadline_ns]
        self.leases.append(lease)
        self.spent = 0
        self.waiting = 0
        self.granted_ns = now_ns
        self.reset_ns = reset_ns
        self.asked = False
        self.denied_until_ns = 0

    def deny(self, now_ns: int, retry_ns: int) -> None:
        """Remember a refusal: for a second at most, since others may give units back."""
        self.waiting = 0
        self.asked = False
        self.retry_ns = self.reset_ns = retry_ns
        self.denied_until_ns = min(retry_ns, now_ns + SECOND)

    def rate_per_s(self, now_ns: int) -> float:
        """Tell how fast units went since the last grant."""
        return self.spent * SECOND / max(now_ns - self.granted_ns, _SHORTEST_NS)

    def demand(self, now_ns: int) -> int:
        """Tell how many units to ask for: those that wait, and a second's worth of the rate seen."""
        return max(1, min(_MOST_UNITS, self.waiting + math.ceil(self.rate_per_s(now_ns))))

    def give_back(self, now_ns: int, margin_ns: int | None) -> list[tuple[str, int]]:
        """Take out leases that end within `margin_ns` and will not be spent, or all: (lease id, unspent units)."""
        back = []
        for lease in list(self.leases):
            left_ns = lease.deadline_ns - now_ns
            if margin_ns is not None and left_ns >= margin_ns:
                continue
            expected = 0 if margin_ns is None else math.ceil(self.rate_per_s(now_ns) * left_ns / SECOND)
            if left_ns <= 0:
                self.leases.remove(lease)
            elif lease.available > expected:
                self.leases.remove(lease)
                back.append((lease.id, lease.available))
        return back
