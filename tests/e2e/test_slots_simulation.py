"""Concurrent requests: the production decisions of replicas and key service, with a simulated network and clock.

Like test_limits_simulation.py, with calls that take time. A call counts while its lease is valid by its replica's
clock: a replica that is disconnected for longer must not admit calls, but cannot end those in progress.
"""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule, run_state_machine_as_test
from test_limits_simulation import EPOCH_US, MS, PROFILE, T_MAX_NS, Replica, World, told

from keygauge.limits.admission import Reservation, Short
from keygauge.limits.concurrency import ConcurrencyPool
from keygauge.limits.limit import Limit
from keygauge.limits.refusal import Refusal
from keygauge.protocol import Acquisition
from keygauge_keyservice.limits import leases
from keygauge_keyservice.limits.kinds import concurrency
from keygauge_keyservice.limits.kinds.kind import Wish
from keygauge_keyservice.sync import heartbeat


class SlotStore:
    """The key service: its decisions are the production code, its table of leases is a dictionary."""

    def __init__(self, amount):
        self.amount = amount
        self.leases = {}
        self.last = 0

    def out(self, now_us):
        return sum(row["units"] for row in self.leases.values() if row["ends_us"] > now_us)

    def exchange(self, replica, message, real_ns, replicas):
        now_us = EPOCH_US + real_ns // 1000
        for item in message["return"]:
            row = self.leases.get(int(item["lease"]))
            if row and row["replica"] == replica:
                del self.leases[int(item["lease"])]
        kept = []
        for item in message.get("hold", ()):
            row = self.leases.get(int(item["lease"]))
            if row and row["replica"] == replica and row["ends_us"] > now_us:
                row |= {"units": min(row["units"], item["units"]), "ends_us": now_us + concurrency.LIFE_US}
                kept.append(item["lease"])
        out = self.out(now_us)
        scarce = concurrency.is_scarce(out, self.amount, replicas)
        granted = []
        for item in message["acquire"]:
            wanted = Acquisition(item["limit"], item["units"], item["waiting"])
            grant = concurrency.Concurrency(out).give(Wish(wanted, now_us, replicas), {"amount": self.amount})
            assert 0 <= grant.units <= wanted.units
            assert grant.units == 0 or out + grant.units <= self.amount
            number = None
            if grant.units:
                self.last += 1
                number = self.last
                self.leases[number] = {"replica": replica, "units": grant.units, "ends_us": grant.ends_us}
            granted.append(leases.Granted(item["limit"], number, grant, now_us))
        leased = told(granted, [concurrency.Kept(lease, scarce, max(0, self.amount - out)) for lease in kept])
        return {**leased, "replicas": replicas, "t_max_ms": heartbeat.T_MAX_MS, "more": False, "repeated": False}


class Calls(World):
    """Calls that start, take time and end."""

    AMOUNT = 1

    @initialize(skews=st.lists(st.integers(-(10**12), 10**12), min_size=3, max_size=3))
    def begin(self, skews):
        self.real_ns = 10**12
        self.limits = [Limit("at_once", "at_once", "concurrent", self.AMOUNT, None, None)]
        self.store = SlotStore(self.AMOUNT)
        self.skews = skews
        self.replicas = [self._replica(number) for number in range(self.REPLICAS)]
        self.requests, self.answers, self.waiting, self.calls = [], [], [], []
        self.names = self.REPLICAS

    def _replica(self, number, name=None):
        replica = Replica(self, f"r{number if name is None else name}", self.skews[number])
        replica.lease_pools = (ConcurrencyPool(self.limits[0]),)
        return replica

    @rule(number=st.integers(0, 2), times=st.integers(1, 4))
    def call(self, number, times):
        for _ in range(times):
            self.reserve(self.replicas[number % len(self.replicas)])

    @precondition(lambda self: self.waiting)
    @rule(place=st.integers(0, 20))
    def call_again(self, place):
        replica, short = self.waiting.pop(place % len(self.waiting))
        self.reserve(replica, short.waiter)

    def reserve(self, replica, waiter=None):
        (held,) = replica.lease_pools
        decision = replica.admission.reserve([(held, 1)], replica.admission.clock(), waiter)
        if isinstance(decision, Reservation):
            assert self.real_ns < replica.reached_ns + T_MAX_NS  # no admission after a longer disconnect
            self.calls.append((replica, decision))
            slots_held = sum(lease.units for lease in held.leases if lease.is_live(replica.admission.clock()))
            assert sum(caller is replica for caller, _ in self.calls) <= slots_held  # with those of ended leases
        elif isinstance(decision, Short):
            self.waiting.append((replica, decision))
        else:
            assert isinstance(decision, Refusal)

    @precondition(lambda self: self.calls)
    @rule(place=st.integers(0, 20))
    def end(self, place):
        replica, reservation = self.calls.pop(place % len(self.calls))
        replica.admission.settle(reservation, {})

    @rule(number=st.integers(0, 2))
    def crash(self, number):
        number %= len(self.replicas)
        if number == 1:
            self.names += 1
            gone = self.replicas[number]
            self.calls = [call for call in self.calls if call[0] is not gone]
            self.waiting = [call for call in self.waiting if call[0] is not gone]
            self.replicas[number] = self._replica(number, self.names)

    @rule(number=st.integers(0, 2), step_ms=st.sampled_from([1000, 1000, 5000, 9300, 9600, 9900, 10_100]))
    def pause(self, number, step_ms):
        self.real_ns += step_ms * MS
        self.heartbeat(number=number, there_ms=1, back_ms=1)

    @invariant()
    def nothing_is_negative_nor_counted_twice(self):
        if not hasattr(self, "store"):
            return
        under_way = 0
        for replica in self.replicas:
            (held,) = replica.lease_pools
            now = replica.admission.clock()
            assert sum(part for caller, made in self.calls if caller is replica for _, _, part in made.parts) == sum(
                lease.reserved for lease in [*held.leases, *held.lost]
            )
            for lease in held.leases:
                assert lease.available >= 0
                assert lease.available + lease.reserved == lease.units
                if lease.is_live(now):
                    under_way += lease.reserved
                    row = self.store.leases[int(lease.id)]  # the store knows a valid lease, with at least as many slots
                    assert row["units"] >= lease.units
                    assert row["ends_us"] > EPOCH_US + self.real_ns // 1000
        assert under_way <= self.AMOUNT
        if all(lease.is_live(replica.admission.clock()) for replica, made in self.calls for _, lease, _ in made.parts):
            lost = [lease for replica in self.replicas for lease in replica.lease_pools[0].lost]
            assert lost or len(self.calls) <= self.AMOUNT


@pytest.mark.parametrize("amount", [1, 3, 12, 40])
def test_concurrency_limits_hold_under_any_order_of_events(amount):
    machine = type("Machine", (Calls,), {"AMOUNT": amount})
    run_state_machine_as_test(machine, settings=PROFILE)
