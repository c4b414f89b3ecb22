"""A lone client that calls on a fixed schedule, exactly at its limit, over eight processes on a virtual clock.

The decisions of processes and key service are the production code. The times that messages and waking up take vary from
call to call.
"""

import random
from collections import deque
from concurrent.futures import Future
from itertools import pairwise
from types import SimpleNamespace

import pytest
from test_limits_simulation import LONG, MS, SECOND, T_MAX_NS, Store

from keygauge.call import Call
from keygauge.key import digest, generate
from keygauge.limits.admission import Admission
from keygauge.limits.authorizer import Authorizer
from keygauge.limits.refusal import Refusal
from keygauge.sync.lease_sync import LeaseSync

PROCESSES = 8
TOKEN = generate("live")


class Process:
    """A process of a metered service."""

    def __init__(self, world, number, entry, clock):
        self.name = f"r{number}"
        self.admission = Admission(wake=lambda: None, clock=lambda: world.now_ns)
        self.admission.key_cache.put([entry], wanted=frozenset([entry["id"]]))
        self.admission.key_cache.learn(digest(TOKEN), entry["id"], 1)
        heartbeat = SimpleNamespace(admission=self.admission, costing=None, next_round=Future)
        self.authorizer = Authorizer(heartbeat, enforces=True, wait_s=0.25)
        self.lease_sync = LeaseSync(self.admission, clock=clock)


class World:
    """Time advances by the waits of calls; `late_ns` is the longest wait."""

    def __init__(self, *, amount, window_s, clocks, seed, wake_ns=MS // 10):
        self.now_ns = 10**12
        self.dice = random.Random(seed)
        self.late_ns = 0
        self.wake_ns = wake_ns  # the longest time to wake up
        limit = {"id": "1:a", "name": "free", "unit": "request", "amount": amount, "window_s": window_s, "period": None}
        entry = {"id": "key", "account": "a", "plan": "p", "status": "active", "expires_at": None, "limits": [limit]}
        entry["secrets"] = [{"number": 1, "expires_at": None}]
        self.store = Store(
            {"1:a": {"unit": "request", "amount": amount, "window_s": window_s, "period": None, "smooth": False}}
        )
        self.processes = [Process(self, number, entry, clocks[number % len(clocks)]) for number in range(PROCESSES)]

    def call(self, process):
        """Make one call; return the time of admission, or the refusal."""
        process.admission.authority_ns = self.now_ns + T_MAX_NS  # heartbeats are also sent between calls
        call = Call(method="GET", ip=None, time_ns=0, started_ns=self.now_ns)
        decision = process.authorizer.decide(call, TOKEN.encode())
        while decision is not None and not isinstance(decision, Refusal):
            if decision.at_ns is not None:
                self.now_ns = max(self.now_ns, decision.at_ns)
            else:
                self.heartbeat(process)
            self.now_ns += self.dice.randrange(self.wake_ns)
            decision = process.authorizer.decide(call, TOKEN.encode())
        process.authorizer.leave(call)
        if decision is not None:
            return decision
        self.late_ns = max(self.late_ns, self.now_ns - call.started_ns)
        (lease,) = (lease for lease in process.admission.key_cache.lease_pools["1:a"].leases if not lease.available)
        self.heartbeat(process)  # reports when the unit was spent
        return lease.last_ns

    def heartbeat(self, process):
        message, asked = process.lease_sync.offer()
        self.now_ns += self.way_ns()
        answer = self.store.exchange(process.name, message, self.now_ns, PROCESSES)
        self.now_ns += self.way_ns()
        process.lease_sync.take(answer, asked)

    def way_ns(self):
        return self.dice.randrange(MS // 2, 4 * MS if self.dice.random() < 0.9 else 50 * MS)


def follow(world, *, calls, period_ns):
    """Call on schedule; return the times of admission up to the first refusal."""
    moments = []
    begin_ns = world.now_ns
    for number in range(calls):
        world.now_ns = max(world.now_ns, begin_ns + number * period_ns + world.dice.randrange(MS))
        moment = world.call(world.dice.choice(world.processes))
        if isinstance(moment, Refusal):
            break
        moments.append(moment)
    return moments


@pytest.mark.parametrize("seed", range(20 if LONG else 1))
@pytest.mark.parametrize(("amount", "window_s"), [(1, 1), (1, 60), (3, 2)])
def test_a_client_on_a_fixed_schedule_is_served_for_long_by_one_host(amount, window_s, seed):
    world = World(amount=amount, window_s=window_s, clocks=["a host"], seed=seed)
    moments = follow(world, calls=1_000, period_ns=-(-window_s * SECOND // amount))
    assert len(moments) == 1_000
    seen = deque()
    for moment in moments:
        seen.append(moment)
        while moment - seen[0] > window_s * SECOND:
            seen.popleft()
        assert len(seen) <= amount
    assert world.late_ns < 300 * MS


def test_only_wake_up_times_add_up_on_one_host():
    world = World(amount=1, window_s=1, clocks=["a host"], seed=1, wake_ns=3 * MS)
    moments = follow(world, calls=4_000, period_ns=SECOND)
    assert 60 < len(moments) < 600
    assert all(later - earlier > SECOND for earlier, later in pairwise(moments))


@pytest.mark.parametrize("clocks", [[None], ["a host", "another"]], ids=["no clock", "two hosts"])
def test_without_a_shared_clock_message_times_add_up_to_a_refusal(clocks):
    world = World(amount=1, window_s=1, clocks=clocks, seed=1)
    moments = follow(world, calls=4_000, period_ns=SECOND)
    assert 20 < len(moments) < 4_000
    assert all(later - earlier > SECOND for earlier, later in pairwise(moments))
