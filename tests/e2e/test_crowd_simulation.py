"""Random calls over many replicas: round trips, use of a limit, and `Retry-After`."""

from bisect import bisect_right
from itertools import pairwise

import pytest
from test_limits_simulation import LONG, SECOND
from test_liveness_simulation import Client, World, rate

from keygauge.limits.refusal import Refusal


class Caller(Client):
    """A client that calls once; a refused call is not retried."""

    def __init__(self, world, **usage):
        self.came_ns = world.now_ns
        super().__init__(world.dice.choice(world.processes), calls=1, **usage)

    def decide(self, waiter):
        known = len(self.world.refused)
        self.calls = 0
        super().decide(waiter)
        assert len(self.world.refused) <= known + 1


def offer(limit, *, processes, load, seconds, seed=1, **usage):
    """Send `load` times the limit's amount at random times; return the world afterwards."""
    world = World([limit], processes=processes, seed=seed)
    each = usage.get("units", 1000) if limit.unit == "token" else 1
    per_s = load * limit.amount / limit.window_s / each

    def come():
        Caller(world, **{"handler_ms": 5, **usage})
        world.at(world.now_ns + int(world.dice.expovariate(per_s) * SECOND), come)

    world.at(world.now_ns, come)
    world.run(seconds)
    world.check()
    return world


def heartbeats_beyond_the_regular_per_call(world, since_ns):
    seconds = (world.now_ns - since_ns) / SECOND
    sent = sum(sent_ns >= since_ns for process in world.processes for sent_ns in process.beats)
    calls = sum(moment >= since_ns for moment, _ in world.admitted)
    return max(0, sent - seconds * len(world.processes)) / calls


def test_very_many_replicas_share_a_limit_with_few_extra_heartbeats():
    processes, amount = (1000, 6_000) if LONG else (80, 1_000)
    world = offer(rate("request", amount, 60), processes=processes, load=1.5, seconds=125)
    since_ns = world.now_ns - 60 * SECOND
    assert world.refused
    assert sum(moment >= since_ns for moment, _ in world.admitted) >= 0.9 * amount
    assert heartbeats_beyond_the_regular_per_call(world, since_ns) <= 0.01


@pytest.mark.parametrize("load", [0.3, 0.8])
def test_calls_of_many_replicas_do_not_wait_below_the_limit(load):
    world = offer(rate("request", 4_000, 60), processes=64, load=load, seconds=65)
    assert not world.refused
    late = world.waits[len(world.waits) // 2 :]
    assert sum(waited_ns > 0 for _, waited_ns in late) <= 0.15 * len(late)


@pytest.mark.parametrize(("processes", "every_s"), [(1, 1), (1, 6), (4, 2)])
@pytest.mark.parametrize("unit", ["request", "token"])
def test_a_slow_key_needs_no_network(unit, processes, every_s):
    """Each process has a call every few seconds, far below the limit."""
    limit = rate(unit, 100_000_000, 60)
    each = 1000 if unit == "token" else 1
    world = offer(limit, processes=processes, load=processes * each * 60 / limit.amount / every_s, seconds=300)
    late = world.waits[len(world.waits) // 4 :]
    assert len(late) > 30
    assert sum(waited_ns > 0 for _, waited_ns in late) <= 0.12 * len(late)


@pytest.mark.parametrize(("amount", "every_s"), [(10, 12), (19, 6), (6, 10.1), (19, 3.2)])
def test_a_slow_key_with_a_small_limit_needs_no_network_either(amount, every_s):
    """For a lone caller at an even pace, no call waits below half of the limit, and none is refused up to the limit."""
    world = World([rate("request", amount, 60)], processes=1, seed=1)
    Client(world.processes[0], handler_ms=5, pause_ms=int(every_s * 1000))
    world.run(600)
    world.check()
    assert not world.refused
    late = world.waits[len(world.waits) // 4 :]
    assert sum(waited_ns > 0 for _, waited_ns in late) <= (0 if 60 / every_s < 0.6 * amount else len(late))


@pytest.mark.parametrize("processes", [1, 4])
@pytest.mark.parametrize(
    ("unit", "handler_ms", "load"), [("request", 5, 1.5), ("token", 5, 3), ("token", 8_000, 3), ("token", 300, 4)]
)
def test_retry_after_is_never_later_than_the_next_free_unit(unit, handler_ms, load, processes):
    """No call is admitted long before the time in `Retry-After`, which is at most a window plus a lease.

    An unused limit under 1.5 times the traffic it allows is used up after two thirds of the first window, so calls in
    the last third are refused with a correspondingly long time.
    """
    limit = rate(unit, 600 if unit == "request" else 60_000, 20)
    for seed in range(10 if LONG else 2):
        world = offer(
            limit, processes=processes, load=load, seconds=50, seed=seed, units=1000, used=0.5, handler_ms=handler_ms
        )
        moments = sorted(moment for moment, _ in world.admitted)
        for moment, refusal in world.refused:
            assert isinstance(refusal, Refusal)
            assert 0 < refusal.retry_after_s <= limit.window_s * (1 + 1.25 / 20)
            told_ns = moment + int(refusal.retry_after_s * SECOND) - 2 * SECOND
            assert bisect_right(moments, told_ns) <= bisect_right(moments, moment)


@pytest.mark.parametrize("units", [85, 700, 2_000])
def test_a_lone_client_is_admitted_after_the_time_in_retry_after(units):
    """Not only one unit is free then, but as many as the call reserves. Calls use all of it, so nothing comes back."""
    for seed in range(10 if LONG else 3):
        world = World([rate("token", 2_000, 5)], processes=1, seed=seed, wakes_ms=1)
        Client(world.processes[0], handler_ms=5, pause_ms=50, units=units, used=1).rounds_up = True
        world.run(60)
        world.check()
        assert len(world.refused) > 5
        for (refused_ns, _), (again_ns, _) in pairwise(world.refused):
            assert any(refused_ns < moment < again_ns for moment, _ in world.admitted)
