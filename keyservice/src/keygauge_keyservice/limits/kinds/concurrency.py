"""Slots: so many calls at once. A replica holds one for each call under way, and some ahead, as long as it says so.

A lease of slots never grows; it ends when it is given back, or one authority (T_max) after the replica last said that
it holds it. So the slots of a process that was killed come free by then, and messages may come late or twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from keygauge_keyservice.database import Connection
from keygauge_keyservice.limits.fair_share import clamp
from keygauge_keyservice.limits.grant import Grant
from keygauge_keyservice.limits.kinds.kind import Refund, Row, Wish
from keygauge_keyservice.limits.replicas import T_MAX_MS

BUCKET = -1  # of leases of slots: periods and ends are above that
LIFE_US = T_MAX_MS * 1_000
_RETRY_US = 1_000_000  # when a slot comes free nobody knows


@dataclass(frozen=True)
class Kept:
    """A lease that a replica holds still. Where slots are scarce, it should give back at once what it has to spare."""

    lease_id: str
    is_scarce: bool


@dataclass(frozen=True)
class Slots:
    """How many are held by replicas, by their leases."""

    used: int

    @classmethod
    def load(cls, row: Row) -> Slots:
        """Read the number from a row to which it was added."""
        return cls(row["out"])

    def dump(self) -> None:
        """Write nothing: leases are kept."""

    def now(self, row: Row, *, now_us: int) -> tuple[Slots, int]:  # noqa: ARG002 - as any kind
        """Return the same; when slots come free nobody knows."""
        return self, now_us

    def give(self, wish: Wish, row: Row) -> Grant[Slots]:
        """Grant what is free."""
        return grant(self.used, amount=row["amount"], **wish.counts)

    def take_back(self, refund: Refund, row: Row, *, now_us: int) -> Slots:  # noqa: ARG002 - as any kind
        """Return the same: a lease that was taken back is not counted."""
        return self


def grant(out: int, *, now_us: int, amount: int, want: int, replicas: int = 1, waiting: int = 1) -> Grant[Slots]:
    """Give what is free of the slots wanted; `out` are held by replicas."""
    room = max(0, amount - out)
    small = is_small(amount, replicas)
    if small:
        units = min(max(1, waiting), want, room)
    else:
        units = clamp(want, remaining=room, replicas=replicas, waiting=waiting)
    return Grant(
        state=Slots(out + units),
        units=units,
        remaining=room - units,
        ends_us=now_us + LIFE_US,
        reset_us=_RETRY_US,
        bucket=BUCKET,
        is_small=is_scarce(out + units, amount, replicas),
    )


def is_small(amount: int, replicas: int) -> bool:
    """Return whether there are too few slots to hold some ahead."""
    return amount < 4 * replicas


def is_scarce(out: int, amount: int, replicas: int) -> bool:
    """Return whether others may wait for what a replica has to spare."""
    return is_small(amount, replicas) or out >= amount


def find(connection: Connection, held: Mapping[tuple[str, int], int]) -> set[str]:
    """Tell of which limits replicas say that they hold slots; `held` are those by replica and lease."""
    if not held:
        return set()
    replicas, ids = zip(*held, strict=True)
    rows = connection.execute(
        "/* slots.find */ SELECT DISTINCT state_id FROM lease "
        "JOIN unnest(%s::bigint[], %s::text[]) AS reported (id, replica) USING (id, replica) WHERE bucket = %s",
        (list(ids), list(replicas), BUCKET),
    )
    return {row["state_id"] for row in rows}


def keep(connection: Connection, held: Mapping[tuple[str, int], int]) -> list[dict[str, Any]]:
    """Note that leases are held, with so many slots; those that ended stay ended. The limits' rows are locked."""
    if not held:
        return []
    replicas, ids = zip(*held, strict=True)
    return connection.execute(
        "/* slots.keep */ UPDATE lease SET units = least(lease.units, reported.units), "
        "ends_at = clock_timestamp() + %s * interval '1 microsecond' "
        "FROM unnest(%s::bigint[], %s::text[], %s::bigint[]) AS reported (id, replica, units) "
        "WHERE lease.id = reported.id AND lease.replica = reported.replica "
        "AND bucket = %s AND ends_at > clock_timestamp() "
        "RETURNING lease.id, lease.replica, state_id",
        (LIFE_US, list(ids), list(replicas), list(held.values()), BUCKET),
    ).fetchall()


def count(connection: Connection, state_ids: Sequence[str]) -> dict[str, int]:
    """Count the slots that are held, of limits whose rows are locked."""
    if not state_ids:
        return {}
    rows = connection.execute(
        "/* slots.count */ SELECT state_id, sum(units)::bigint AS units FROM lease "
        "WHERE state_id = ANY(%s) AND bucket = -1 AND ends_at > clock_timestamp() GROUP BY state_id",
        (list(state_ids),),
    )
    return {row["state_id"]: row["units"] for row in rows}
