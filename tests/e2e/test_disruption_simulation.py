"""Smooth rates and concurrent requests while processes are killed and paused: no excess, and soon full use again.

The decisions of processes and key service are the production code, on a virtual clock. A paused process does
nothing, then continues with all that came due in the meantime; a killed one never does, and another takes its place.
"""

import pytest
from test_limits_simulation import LONG, MS, SECOND, T_MAX_NS, Store
from test_liveness_simulation import INTERVAL_NS, Client, Process, World
from test_slots_simulation import SlotStore

from keygauge.limits.limit import Limit


class DisruptedWorld(World):
    """A world in which the events of each process can be held up or dropped."""

    owner = None  # the process whose event is being handled

    def __init__(self, limit, *, processes, seed, **options):
        self.dead, self.awake_ns, self.numbers = set(), {}, 0
        self.in_progress = {}  # calls by process
        super().__init__([limit], processes=0, seed=seed, **options)
        for _ in range(processes):
            self.start()

    def make_store(self):
        (limit,) = self.limits
        if limit.unit == "concurrent":
            return SlotStore(limit.amount)
        return Store({limit.id: {"unit": limit.unit, "amount": limit.amount, "window_s": limit.window_s, "period": None,
                                 "smooth": True}})  # fmt: skip

    def start(self):
        self.numbers += 1
        self.owner = self.numbers
        self.processes.append(Process(self, self.numbers))
        self.owner = None

    def at(self, moment_ns, act):
        owner = self.owner

        def as_owner():
            if owner in self.dead:
                return
            if self.now_ns < self.awake_ns.get(owner, 0):
                super(DisruptedWorld, self).at(self.awake_ns[owner], as_owner)
                return
            self.owner = owner
            act()
            self.owner = None

        super().at(moment_ns, as_owner)

    def call(self, place, **usage):
        """Start a client that calls one process again and again."""
        process = self.processes[place]
        self.owner = int(process.name[1:])
        CountedClient(process, **usage)
        self.owner = None

    def kill(self, place):
        """Kill a process; its calls end with it."""
        process = self.processes.pop(place)
        self.dead.add(int(process.name[1:]))
        self.in_progress.pop(process.name, None)

    def pause(self, place, seconds):
        self.awake_ns[int(self.processes[place].name[1:])] = self.now_ns + int(seconds * SECOND)

    def disrupt(self, disruption, *, pause_s):
        """Kill or pause the first process; return whether another, the last, took its place and needs clients."""
        if disruption == "kill":
            self.kill(0)
            self.start()
        elif disruption == "pause":
            self.pause(0, pause_s)
        return disruption == "kill"


class CountedClient(Client):
    """A client whose calls in progress are counted."""

    def serve(self, reservation):
        world, name = self.world, self.process.name
        world.in_progress[name] = world.in_progress.get(name, 0) + 1
        if world.limits[0].unit == "concurrent":
            assert sum(world.in_progress.values()) <= world.limits[0].amount
        super().serve(reservation)

    def end(self):
        self.world.in_progress[self.process.name] -= 1


def smooth(amount, window_s=60):
    return Limit("even", "even", "request", amount, window_s, None)


def slots(amount):
    return Limit("slots", "slots", "concurrent", amount, None, None)


@pytest.mark.parametrize("disruption", ["none", "kill", "pause"])
@pytest.mark.parametrize(("amount", "processes"), [(6_000, 1), (60_000, 2), (600, 3)])
def test_calls_at_half_the_pace_of_a_smooth_rate_are_never_refused(amount, processes, disruption):
    for seed in range(20 if LONG else 1):
        world = DisruptedWorld(smooth(amount), processes=processes, seed=seed)
        each, clients = amount / 60 / 2 / processes, max(1, amount // 6_000)

        def come(place, each=each, clients=clients, world=world):
            for _ in range(clients):
                world.call(place, handler_ms=5, pause_ms=1000 * clients / each - 5)

        for place in range(processes):
            come(place)
        for _ in range(3):
            world.run(7)
            if world.disrupt(disruption, pause_s=3):
                come(-1)
        world.run(7)
        world.check()
        assert not world.refused
        waits = sorted(waited_ns for _, waited_ns in world.waits)
        assert waits[-1] <= 2 * INTERVAL_NS + (3 * SECOND if disruption == "pause" else 0)
        lost_s = 3 * 3 / processes if disruption == "pause" else 0
        assert len(world.admitted) >= 0.9 * (28 - lost_s) * amount / 60 / 2 - 3 * processes


@pytest.mark.parametrize("disruption", ["none", "kill", "pause"])
@pytest.mark.parametrize("processes", [1, 3])
def test_a_smooth_rate_under_overload_is_well_used_and_never_exceeded(processes, disruption):
    """Answers take less than a fortieth of the window; slower ones cost a part of a smooth rate."""
    amount, window_s = 600, 10
    for seed in range(20 if LONG else 1):
        world = DisruptedWorld(smooth(amount, window_s), processes=processes, seed=seed, slowest_ms=100)
        for number in range(24):
            world.call(number % processes, handler_ms=50)
        for _ in range(2):
            world.run(4)
            if world.disrupt(disruption, pause_s=2):
                for _ in range(24 // processes):
                    world.call(-1, handler_ms=50)
        world.run(3 + window_s)
        world.check()
        assert world.refused
        used = sum(moment >= world.now_ns - window_s * SECOND for moment, _ in world.admitted)
        assert used >= 0.93 * amount


@pytest.mark.parametrize("disruption", ["none", "kill", "pause"])
@pytest.mark.parametrize(("amount", "processes"), [(1, 1), (3, 2), (12, 4)])
def test_slots_are_all_used_again_soon_and_never_more(amount, processes, disruption):
    for seed in range(20 if LONG else 1):
        world = DisruptedWorld(slots(amount), processes=processes, seed=seed)
        for number in range(2 * amount):
            world.call(number % processes, handler_ms=100)
        for _ in range(2):
            world.run(7)
            if world.disrupt(disruption, pause_s=5):
                for _ in range(2 * amount // processes):
                    world.call(-1, handler_ms=100)
        world.run((T_MAX_NS + 3 * INTERVAL_NS) / SECOND)
        before = len(world.admitted)
        world.run(10)
        assert len(world.admitted) - before >= 0.5 * amount * 10 / 0.1


def test_a_client_that_makes_one_call_at_a_time_is_never_refused_a_slot():
    for seed in range(20 if LONG else 3):
        world = DisruptedWorld(slots(1), processes=1, seed=seed, slowest_ms=50)
        world.call(0, handler_ms=20)
        world.run(20)
        assert not world.refused
        assert len(world.admitted) > 20 / 0.2
        assert max(waited_ns for _, waited_ns in world.waits) <= 500 * MS
