"""The strict rate: any N + 1 consecutive sub-buckets of the window hold at most the limit.

Units granted in a bucket may be spent only before it ends. A real interval of the window's length touches at most
N + 1 buckets, so no such interval ever sees more than the limit, whatever the traffic.
"""

from __future__ import annotations

from keygauge_keyservice.counter import Counter, Grant
from keygauge_keyservice.lease_size import clamp

BUCKETS = 20  # per window; more use the limit better, and end leases sooner
_CELLS = BUCKETS + 1


def width_us(window_s: int) -> int:
    """Return a bucket's length."""
    return window_s * (1_000_000 // BUCKETS)


def advance(counter: Counter, *, now_us: int, window_s: int) -> Counter:
    """Move on to the bucket of now; a clock that was set back never moves a counter back."""
    head = max(counter.head, now_us // width_us(window_s))
    passed = min(head - counter.head, _CELLS)
    cells = (0,) * passed + counter.cells
    return Counter(head, (cells + (0,) * _CELLS)[:_CELLS])


def grant(counter: Counter, *, now_us: int, amount: int, window_s: int, want: int, replicas: int = 1) -> Grant:
    """Give what the limit allows of the units wanted, and say when more comes free."""
    counter = advance(counter, now_us=now_us, window_s=window_s)
    units = clamp(want, remaining=counter.room(amount), replicas=replicas)
    counter = counter.take(units)
    width = width_us(window_s)
    steps = _steps_to_gain(counter) if units else _steps_to_room(counter, amount)
    return Grant(
        counter=counter,
        units=units,
        remaining=counter.room(amount),
        ends_us=min((counter.head + 1) * width, now_us + width),  # the second after a clock was set back
        reset_us=max(0, (counter.head + steps) * width - now_us) if steps else 0,
    )


def _steps_to_gain(counter: Counter) -> int:
    """Return after how many buckets the oldest use stops counting."""
    return next((_CELLS - index for index in reversed(range(_CELLS)) if counter.cells[index]), 0)


def _steps_to_room(counter: Counter, amount: int) -> int:
    """Return after how many buckets one unit can be given."""
    return next((step for step in range(1, _CELLS) if sum(counter.cells[: _CELLS - step]) < amount), _CELLS)
