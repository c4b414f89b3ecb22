"""Smooth rate limits (GCRA, a leaky bucket): a steady pace, with bursts of at most a fortieth of the limit.

The state is a single time: when the bucket would be empty if nothing more came. A unit is granted for an interval: from
a time at which the bucket has room for it, and no longer than `life_us`. Each unit fills the bucket for `interval_us`,
so in any closed interval of length d at most `burst + d / interval` units are granted. Units spent within a window were
granted within the window or at most one life before it; the interval is long enough to keep these within the limit.
"""

from __future__ import annotations

from dataclasses import dataclass

from keygauge_keyservice.limits.fair_share import clamp
from keygauge_keyservice.limits.grant import Grant
from keygauge_keyservice.limits.kinds.kind import Columns, Refund, Row, Wish

PATIENCE_US = 250_000  # a unit may be granted this long before it may be spent
_PARTS = 40  # divides the limit for the burst, and the window for the life of a lease
_SHORTEST_US = 250_000  # a shorter lease would end on its way to the replica
_SECOND_US = 1_000_000


@dataclass(frozen=True)
class Gcra:
    """The time when the bucket is empty, in `head`; `used` is the number of units in it, set by `now`."""

    head: int = 0
    used: int = 0

    @classmethod
    def load(cls, row: Row) -> Gcra:
        """Load the state from its row."""
        return cls(row["head"] or 0)

    def dump(self) -> Columns:
        """Return the columns to store."""
        return Columns(self.head)

    def now(self, row: Row, *, now_us: int) -> tuple[Gcra, int]:
        """Return the state with the units in the bucket, and when it is empty."""
        interval = interval_us(row["amount"], row["window_s"]) if row["amount"] else 1
        end_us = max(now_us, self.head) if row["amount"] else now_us
        return Gcra(self.head, -((now_us - end_us) // interval)), end_us

    def give(self, wish: Wish, row: Row) -> Grant[Gcra]:
        """Grant what the limit allows."""
        return grant(self, amount=row["amount"], window_s=row["window_s"], **wish.counts)

    def take_back(self, refund: Refund, row: Row, *, now_us: int) -> Gcra:
        """Apply a refund."""
        terms = {"amount": row["amount"], "window_s": row["window_s"]}
        return self.refund(refund.unspent, refund.bucket, now_us=now_us, **terms)

    def refund(self, units: int, bucket: int, *, now_us: int, amount: int, window_s: int) -> Gcra:
        """Take back units that will not be spent; `bucket` is the head after they were granted.

        Only units that still fill the bucket count: those that have flowed out since cannot be granted again.
        """
        if amount == 0:
            return self
        interval = interval_us(amount, window_s)
        return Gcra(self.head - min(units, max(0, bucket - now_us) // interval) * interval)


def burst(amount: int) -> int:
    """Return how many units may be spent at once."""
    return max(1, amount // _PARTS)


def life_us(window_s: int) -> int:
    """Return how long a lease may be spent."""
    window_us = window_s * _SECOND_US
    return max(window_us // _PARTS, min(_SHORTEST_US, window_us // 4))


def interval_us(amount: int, window_s: int) -> int:
    """Return the pace, as the time per unit."""
    return (window_s * _SECOND_US + life_us(window_s)) // (amount - burst(amount) + 1) + 1


def grant(
    state: Gcra, *, now_us: int, amount: int, window_s: int, want: int, replicas: int = 1, waiting: int = 1
) -> Grant[Gcra]:
    """Grant up to the units wanted if the bucket has room, and return when there is room for more."""
    if amount == 0:
        return Grant(state, 0, 0, now_us, window_s * _SECOND_US, is_small=True)
    interval, most = interval_us(amount, window_s), burst(amount)
    small = most < 4 * replicas
    head, start_us = max(state.head, now_us), now_us
    room = (now_us + most * interval - head) // interval
    if room < 1:
        start_us, room = head - (most - 1) * interval, 1
    if start_us > now_us + PATIENCE_US:
        return Grant(state, 0, 0, now_us, start_us - now_us, is_small=small)
    units = clamp(want, remaining=room, replicas=replicas, waiting=waiting)
    head += units * interval
    return Grant(
        Gcra(head),
        units,
        room - units,
        start_us + life_us(window_s),
        max(interval, head - (most - 1) * interval - now_us) if room == units else interval,
        bucket=head,
        start_us=start_us,
        is_small=small,
    )
