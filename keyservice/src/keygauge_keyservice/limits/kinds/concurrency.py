"""Concurrency limits. A replica holds a slot for each call in progress, and some in advance, while it renews them.

A lease of slots never grows. It ends when it is given back, or T_max after the replica last renewed it. So the slots of
a killed process come free by then, and messages may arrive late or twice.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from keygauge.protocol import Hold
from keygauge_keyservice.database import Connection
from keygauge_keyservice.limits.fair_share import clamp
from keygauge_keyservice.limits.grant import Grant
from keygauge_keyservice.limits.kinds.kind import Refund, Row, Wish
from keygauge_keyservice.limits.replicas import T_MAX_MS

BUCKET = -1  # of leases of slots: the buckets of other kinds are not negative
LIFE_US = T_MAX_MS * 1_000
_RETRY_US = 1_000_000  # nobody knows when a slot comes free


@dataclass(frozen=True)
class Kept:
    """A renewed lease. If slots are scarce, the replica should give back spare ones at once; `left` are free."""

    lease_id: str
    is_scarce: bool
    left: int


@dataclass(frozen=True)
class Concurrency:
    """The number of slots that replicas hold by their leases."""

    used: int

    @classmethod
    def load(cls, row: Row) -> Concurrency:
        """Load the number from `out`, which the caller added to the row."""
        return cls(row["out"])

    def dump(self) -> None:
        """Return None, as only leases are stored."""

    def now(self, row: Row, *, now_us: int) -> tuple[Concurrency, int]:  # noqa: ARG002 - as any kind
        """Return the same state; nobody knows when slots come free."""
        return self, now_us

    def give(self, wish: Wish, row: Row) -> Grant[Concurrency]:
        """Grant free slots."""
        return grant(self.used, amount=row["amount"], **wish.counts)

    def take_back(self, refund: Refund, row: Row, *, now_us: int) -> Concurrency:  # noqa: ARG002 - as any kind
        """Return the same state, as a returned lease is not counted."""
        return self


def grant(out: int, *, now_us: int, amount: int, want: int, replicas: int = 1, waiting: int = 1) -> Grant[Concurrency]:
    """Grant free slots, up to the number wanted; `out` is the number held by replicas."""
    room = max(0, amount - out)
    small = is_small(amount, replicas)
    if small:
        units = min(max(1, waiting), want, room)
    else:
        units = clamp(want, remaining=room, replicas=replicas, waiting=waiting)
    return Grant(
        state=Concurrency(out + units),
        units=units,
        remaining=room - units,
        ends_us=now_us + LIFE_US,
        reset_us=_RETRY_US,
        bucket=BUCKET,
        is_small=is_scarce(out + units, amount, replicas),
    )


def is_small(amount: int, replicas: int) -> bool:
    """Return whether there are too few slots to hold some in advance."""
    return amount < 4 * replicas


def is_scarce(out: int, amount: int, replicas: int) -> bool:
    """Return whether others may wait for a replica's spare slots."""
    return is_small(amount, replicas) or out >= amount


def find(connection: Connection, held: Mapping[tuple[str, int], Hold]) -> set[str]:
    """Return the limits of leases that replicas report as held, by replica and lease."""
    if not held:
        return set()
    replicas, ids = zip(*held, strict=True)
    rows = connection.execute(
        "/* slots.find */ SELECT DISTINCT state_id FROM lease "
        "JOIN unnest(%s::bigint[], %s::text[]) AS reported (id, replica) USING (id, replica) WHERE bucket = %s",
        (list(ids), list(replicas), BUCKET),
    )
    return {row["state_id"] for row in rows}


def keep(connection: Connection, held: Mapping[tuple[str, int], Hold]) -> list[dict[str, Any]]:
    """Renew leases with the given numbers of slots, unless they ended. The limits' rows must be locked."""
    if not held:
        return []
    replicas, ids = zip(*held, strict=True)
    return connection.execute(
        "/* slots.keep */ UPDATE lease SET units = least(lease.units, reported.units), "
        "spent = least(lease.units, reported.units, reported.used), "
        "ends_at = clock_timestamp() + %s * interval '1 microsecond' "
        "FROM unnest(%s::bigint[], %s::text[], %s::bigint[], %s::bigint[]) AS reported (id, replica, units, used) "
        "WHERE lease.id = reported.id AND lease.replica = reported.replica "
        "AND bucket = %s AND ends_at > clock_timestamp() "
        "RETURNING lease.id, lease.replica, state_id",
        (LIFE_US, list(ids), list(replicas), *_columns(held.values()), BUCKET),
    ).fetchall()


def in_use(connection: Connection, state_ids: Sequence[str]) -> dict[str, int]:
    """Return the number of calls in progress per limit that has any, as last reported by replicas."""
    if not state_ids:
        return {}
    rows = connection.execute(
        "/* slots.in_use */ SELECT state_id, sum(spent)::bigint AS used FROM lease "
        "WHERE state_id = ANY(%s) AND bucket = -1 AND ends_at > clock_timestamp() GROUP BY state_id",
        (list(state_ids),),
    )
    return {row["state_id"]: row["used"] for row in rows}


def count(connection: Connection, state_ids: Sequence[str]) -> dict[str, int]:
    """Return the number of slots held per limit; the limits' rows must be locked."""
    if not state_ids:
        return {}
    rows = connection.execute(
        "/* slots.count */ SELECT state_id, sum(units)::bigint AS units FROM lease "
        "WHERE state_id = ANY(%s) AND bucket = -1 AND ends_at > clock_timestamp() GROUP BY state_id",
        (list(state_ids),),
    )
    return {row["state_id"]: row["units"] for row in rows}


def _columns(held: Collection[Hold]) -> tuple[list[int], list[int]]:
    """Return the slots that are held and those of them that calls use."""
    return [item.units for item in held], [item.units if item.used is None else item.used for item in held]
