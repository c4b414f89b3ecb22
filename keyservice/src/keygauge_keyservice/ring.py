"""The strict rate: any N + 1 consecutive sub-buckets of the window hold at most the limit.

Units granted in a bucket may be spent only before it ends. A real interval of the window's length touches at most
N + 1 buckets, so no such interval ever sees more than the limit, whatever the traffic.

A lease that ends in the moment it arrives would waste its units. So those granted late in a bucket are counted in the
next one and may be spent in both; as they can meet the N + 1 buckets that end with either, N + 2 then hold at most the
limit.
"""

from __future__ import annotations

from keygauge_keyservice.counter import Counter, Grant
from keygauge_keyservice.lease_size import clamp

BUCKETS = 20  # per window; more use the limit better, and end leases sooner
_LATE_US = 250_000  # every lease lives as long as this, or a quarter of a bucket where that is less


def width_us(window_s: int) -> int:
    """Return a bucket's length."""
    return window_s * (1_000_000 // BUCKETS)


def late_us(window_s: int) -> int:
    """Return how long before its end a bucket takes no more grants."""
    return min(_LATE_US, width_us(window_s) // 4)


def advance(counter: Counter, *, now_us: int, window_s: int) -> Counter:
    """Move on to the bucket of now, keeping what counts; a clock that was set back never moves a counter back."""
    bucket, past_us = divmod(now_us, width_us(window_s))
    is_late = past_us >= width_us(window_s) - late_us(window_s)
    head = max(counter.head, bucket + is_late)
    counting = BUCKETS + 1 + (head > bucket)
    passed = min(head - counter.head, counting)
    return Counter(head, ((0,) * passed + counter.cells + (0,) * counting)[:counting])


def grant(counter: Counter, *, now_us: int, amount: int, window_s: int, want: int, replicas: int = 1) -> Grant:
    """Give what the limit allows of the units wanted, and say when more comes free."""
    counter = advance(counter, now_us=now_us, window_s=window_s)
    units = clamp(want, remaining=counter.room(amount), replicas=replicas)
    counter = counter.take(units)
    width = width_us(window_s)
    free = _gains_in(counter) if units else _has_room_in(counter, amount, after=now_us // width)
    return Grant(
        counter=counter,
        units=units,
        remaining=counter.room(amount),
        ends_us=min((counter.head + 1) * width, now_us + width + late_us(window_s)),  # the second: a clock set back
        reset_us=max(0, free * width - now_us),
    )


def _gains_in(counter: Counter) -> int:
    """Return the bucket in which the oldest use stops counting."""
    oldest = max(index for index, units in enumerate(counter.cells) if units)
    return counter.head - oldest + BUCKETS + 1


def _has_room_in(counter: Counter, amount: int, *, after: int) -> int:
    """Return the first bucket after one in which a unit can be given; a limit of 0 has none, so the last looked at."""
    bucket = after
    for bucket in range(after + 1, counter.head + BUCKETS + 2):
        if sum(counter.cells[: BUCKETS + 1 + counter.head - bucket]) < amount:
            break
    return bucket
