"""Calls within a limit are admitted within two heartbeats: many callers on a virtual clock.

The decisions of processes and key service are the production code; the network between them, the handlers and the
clients are simulated. Safety is checked too: admissions never exceed a limit.
"""

import random
from collections import deque
from heapq import heappop, heappush
from itertools import count
from math import ceil
from types import SimpleNamespace

import pytest
from test_limits_simulation import LONG, MS, SECOND, T_MAX_NS, Store

from keygauge.limits.admission import Admission, Reservation, Short
from keygauge.limits.concurrency import lease_pool_of
from keygauge.limits.limit import Limit
from keygauge.limits.refusal import Refusal
from keygauge.sync.lease_sync import LeaseSync

INTERVAL_NS = SECOND
TIMEOUT_NS = 2 * SECOND
RETRY_NS = 100 * MS


class World:
    """Events by time."""

    def __init__(self, limits, *, processes, seed, lost=0.0, lost_answers=0.5, slow_ms=10, slowest_ms=400, wakes_ms=2):
        self.now_ns = 10**12
        self.dice = random.Random(seed)
        self.lost, self.lost_answers = lost, lost_answers
        self.slow_ms, self.slowest_ms, self.wakes_ms = slow_ms, slowest_ms, wakes_ms
        self.limits = limits
        self.store = self.make_store()
        self.admitted = []  # time, units
        self.refused = []
        self.refusals_took_ns = []
        self.waits = []  # per admitted call: heartbeats sent and answered while it waited, and nanoseconds
        self._events, self._number = [], count()
        self.processes = [Process(self, number) for number in range(processes)]

    def make_store(self):
        terms = {
            x.id: {"unit": x.unit, "amount": x.amount, "window_s": x.window_s, "period": x.period, "smooth": False}
            for x in self.limits
        }
        return Store(terms)

    def at(self, moment_ns, act):
        heappush(self._events, (max(moment_ns, self.now_ns), next(self._number), act))

    def run(self, seconds):
        end_ns = self.now_ns + int(seconds * SECOND)
        while self._events[0][0] <= end_ns:
            self.now_ns, _, act = heappop(self._events)
            act()
        self.now_ns = end_ns

    def way_ns(self):
        usual = self.dice.random() < 0.98
        return self.dice.randrange(MS, (self.slow_ms if usual else self.slowest_ms) * MS)

    def check(self):
        """Check that no window of a rate, and no quota, was ever exceeded."""
        for limit in self.limits:
            window, total = deque(), 0
            for moment, tokens in sorted(self.admitted):
                units = tokens if limit.unit == "token" else 1
                window.append((moment, units))
                total += units
                while limit.window_s and moment - window[0][0] > limit.window_s * SECOND:
                    total -= window.popleft()[1]
                assert total <= limit.amount


class Process:
    """A process of a metered service: its heartbeat, and the calls that it receives."""

    def __init__(self, world, number):
        self.world = world
        self.name = f"r{number}"
        self.admission = Admission(wake=self.wake, clock=lambda: world.now_ns)
        self.pools = tuple(lease_pool_of(limit) for limit in world.limits)
        self.key = SimpleNamespace(lease_pools=self.pools)
        self.sync = LeaseSync(self.admission)
        self.beats = []  # send times of answered heartbeats
        self.failed_ns = 0
        self._due = self._busy = False
        self._turn = 0
        self.admission.authority_ns = world.now_ns + T_MAX_NS
        self._schedule(world.now_ns)

    def wake(self):
        self._due = True
        if not self._busy:
            self._schedule(self.world.now_ns)

    def _schedule(self, moment_ns):
        self._turn += 1
        turn = self._turn
        self.world.at(moment_ns, lambda: self._beat() if turn == self._turn and not self._busy else None)

    def _beat(self):
        world = self.world
        self._due, self._busy = False, True
        message, asked = self.sync.offer()
        sent_ns = world.now_ns
        if world.dice.random() < world.lost:
            if world.dice.random() < world.lost_answers:  # it arrives, but the answer is lost
                world.at(sent_ns + world.way_ns(), lambda: self._arrive(message))
            world.at(sent_ns + TIMEOUT_NS, lambda: self._fail(asked))
            return
        there_ns = sent_ns + world.way_ns()

        def arrive():
            answer = self._arrive(message)
            world.at(there_ns + world.way_ns(), lambda: self._take(answer, asked, sent_ns))

        world.at(there_ns, arrive)

    def _arrive(self, message):
        world = self.world
        return world.store.exchange(self.name, message, world.now_ns, len(world.processes))

    def _take(self, answer, asked, sent_ns):
        with self.admission.lock:
            self.sync.take(answer, asked)
        self.admission.away = False
        self.beats.append(sent_ns)
        self._end(self.world.now_ns)

    def _fail(self, asked):
        with self.admission.lock:
            self.sync.give_up(asked)
        self.admission.fail()
        self.failed_ns = self.world.now_ns
        self._end(self.world.now_ns + RETRY_NS)

    def _end(self, earliest_ns):
        self._busy = False
        turn_ns = self.sync.turn_ns() or earliest_ns + INTERVAL_NS
        next_ns = earliest_ns if self._due else min(earliest_ns + INTERVAL_NS, turn_ns)
        self._schedule(max(earliest_ns, next_ns))


class Client:
    """A client that calls one after the other; each call takes a while to handle."""

    rounds_up = False  # to whole seconds, as `Retry-After` does

    def __init__(self, process, *, handler_ms, pause_ms=0, units=1000, used=0.05, calls=10**9):
        self.process, self.world = process, process.world
        self.handler_ms, self.pause_ms, self.units, self.used = handler_ms, pause_ms, units, used
        self.calls = calls
        self.world.at(self.world.now_ns + self.world.dice.randrange(MS), self.call)

    def call(self):
        if self.calls == 0:
            return
        self.calls -= 1
        self.came_ns = self.world.now_ns
        self.decide(None)

    def decide(self, waiter):
        admission = self.process.admission
        if any(limit.unit in ("token", "concurrent") for limit in self.world.limits):
            claims = [(x, self.units if x.limit.unit == "token" else 1) for x in self.process.pools]
            decision = admission.reserve(claims, self.came_ns, waiter)
        else:
            decision = admission.admit(self.process.key, self.came_ns, waiter)
        if isinstance(decision, Short):
            self.wait(decision)
        elif isinstance(decision, Refusal):
            self.world.refused.append((self.world.now_ns, decision))
            self.world.refusals_took_ns.append(self.world.now_ns - self.came_ns)
            after_s = max(1, ceil(decision.retry_after_s)) if self.rounds_up else decision.retry_after_s
            self.world.at(self.world.now_ns + max(MS, int(after_s * SECOND)), self.call)
        else:
            self.serve(decision)

    def wait(self, short):
        world, done = self.world, []

        def again():
            if not done:
                done.append(True)
                self.decide(short.waiter)

        short.wait.woken.add_done_callback(lambda _: world.at(self._awake_ns(), again))
        if short.wait.at_ns is not None:
            world.at(short.wait.at_ns, again)

    def _awake_ns(self):
        return self.world.now_ns + self.world.dice.randrange(self.world.wakes_ms * MS)

    def serve(self, reservation):
        world = self.world
        beats = self.process.beats
        world.waits.append((sum(sent_ns >= self.came_ns for sent_ns in beats[-100:]), world.now_ns - self.came_ns))
        world.admitted.append((world.now_ns, self.units))
        place = len(world.admitted) - 1
        takes_ns = int(self.handler_ms * MS * world.dice.uniform(0.9, 1.1)) + MS // 10

        def end():
            self.end()
            if isinstance(reservation, Reservation):
                used = int(self.units * self.used)
                self.process.admission.settle(reservation, {"token": used})
                world.admitted[place] = (world.admitted[place][0], used)
            world.at(world.now_ns + self.pause_ms * MS, self.call)

        world.at(world.now_ns + takes_ns, end)

    def end(self):
        """Note that a call ends."""


def rate(unit, amount, window_s=60):
    return Limit(f"{unit}s", f"{unit}s", unit, amount, window_s, None)


def quota(unit, amount):
    return Limit(f"monthly {unit}s", f"monthly {unit}s", unit, amount, None, "month")


AMPLE = {
    "rpm": [rate("request", 10**8)],
    "rps": [rate("request", 10**6, 1)],
    "10 s": [rate("request", 10**7, 10)],
    "month": [quota("request", 10**10)],
    "rpm+month": [rate("request", 10**8), quota("request", 10**10)],
    "tpm": [rate("token", 5 * 10**9)],
    "rpm+tpm+monthly": [rate("request", 10**8), rate("token", 5 * 10**9), quota("token", 10**13)],
}


@pytest.mark.parametrize("handler_ms", [2, 10, 500])
@pytest.mark.parametrize(("processes", "clients"), [(1, 1), (1, 16), (2, 60)])
@pytest.mark.parametrize("mix", AMPLE)
def test_calls_within_a_limit_are_admitted_within_two_heartbeats(mix, processes, clients, handler_ms):
    for seed in range(20 if LONG else 1):
        world = World(AMPLE[mix], processes=processes, seed=seed)
        for number in range(clients):
            Client(world.processes[number % processes], handler_ms=handler_ms)
        seconds = 4 if clients * 1000 / (handler_ms + 1) > 5_000 else 8
        world.run(seconds)
        assert not world.refused
        assert max(waited_ns for _, waited_ns in world.waits) <= 2 * INTERVAL_NS
        if mix != "rps":  # whose leases do not outlast a slow answer
            assert max(beats for beats, _ in world.waits) <= 2
        world.check()
        half_ns = world.now_ns - seconds * SECOND // 2
        late = sum(moment >= half_ns for moment, _ in world.admitted)
        possible = clients * (seconds / 2) / ((handler_ms + 0.1) / 1000)
        assert late >= (0.7 if mix == "rps" else 0.8) * possible - clients
        for process in world.processes:
            assert sum(sent_ns >= half_ns for sent_ns in process.beats) <= 3 * (seconds / 2) + 1


@pytest.mark.parametrize("mix", ["rpm+month", "tpm"])
def test_lost_answers_delay_calls_and_lose_none(mix):
    for seed in range(20 if LONG else 2):
        world = World(AMPLE[mix], processes=2, seed=seed, lost=0.1)
        for number in range(40):
            Client(world.processes[number % 2], handler_ms=20)
        world.run(10)
        assert not world.refused
        assert max(beats for beats, _ in world.waits) <= 2
        world.check()


@pytest.mark.parametrize(("processes", "amount"), [(1, 300), (3, 600)])
def test_a_limit_under_overload_is_well_used_and_never_exceeded(processes, amount):
    for seed in range(20 if LONG else 1):
        world = World([rate("request", amount, 10)], processes=processes, seed=seed)
        for number in range(12):
            Client(world.processes[number % processes], handler_ms=5)
        world.run(40)
        world.check()
        assert world.refused
        assert all(refusal.retry_after_s <= 10.5 for _, refusal in world.refused)
        used = sum(moment >= world.now_ns - 30 * SECOND for moment, _ in world.admitted)
        assert used >= 0.85 * 3 * amount


@pytest.mark.parametrize(
    ("window_s", "load", "beats_per_s"), [(1, 0.4, 3), (1, 0.5, 3.5), (1, 0.75, 12), (2, 0.5, 2), (5, 0.75, 2.5)]
)
@pytest.mark.parametrize("processes", [1, 2, 4])
def test_a_short_window_needs_few_heartbeats_until_it_is_nearly_used_up(processes, window_s, load, beats_per_s):
    per_s, clients = 2000 * load, 64
    for seed in range(20 if LONG else 1):
        world = World([rate("request", 2000 * window_s, window_s)], processes=processes, seed=seed)
        for number in range(clients):
            Client(world.processes[number % processes], handler_ms=5, pause_ms=clients / per_s * 1000 - 5.1)
        world.run(8)
        world.check()
        half_ns = world.now_ns - 4 * SECOND
        assert not world.refused
        assert sum(moment >= half_ns for moment, _ in world.admitted) >= 0.8 * 4 * per_s
        beats = sum(sent_ns >= half_ns for process in world.processes for sent_ns in process.beats)
        assert beats <= 4 * beats_per_s * processes


SMALL = {
    "2 rpm": [rate("request", 2)],
    "1 in 5 s": [rate("request", 1, 5)],
    "3 rpm+month": [rate("request", 3), quota("request", 100)],
    "3 tpm": [rate("token", 3000)],
    "3 a month": [quota("request", 3)],
}


@pytest.mark.parametrize(
    ("slow_ms", "wakes_ms"), [(10, 2), (300, 2), (800, 2), (10, 700), (300, 1000)], ids=lambda ms: f"{ms}ms"
)
@pytest.mark.parametrize("mix", SMALL)
def test_a_lone_caller_on_a_busy_machine_can_use_all_of_a_small_limit(mix, slow_ms, wakes_ms):
    limit = SMALL[mix][0]
    most = limit.amount // (1000 if limit.unit == "token" else 1)
    for seed in range(100 if LONG else 10):
        world = World(
            SMALL[mix], processes=1, seed=seed, slow_ms=slow_ms, slowest_ms=max(400, slow_ms), wakes_ms=wakes_ms
        )
        Client(world.processes[0], handler_ms=5, used=1)
        while not world.refused:
            world.run(0.1)
        assert len(world.admitted) >= most
        assert max(waited_ns for _, waited_ns in world.waits) <= 5 * SECOND
        world.check()


def test_a_lost_return_is_repeated():
    """Each call reserves most of the limit and uses little, so the rest must be returned for the next one."""
    for seed in range(100 if LONG else 10):
        world = World([quota("token", 5000)], processes=1, seed=seed, lost=0.2, lost_answers=0)
        Client(world.processes[0], handler_ms=5, pause_ms=40_000, units=4000, used=0.01)
        world.run(330)
        assert not any(refusal.outcome == "quota" for _, refusal in world.refused)
        assert len(world.admitted) >= 7
        world.check()


@pytest.mark.parametrize(("processes", "amount"), [(2, 1000), (5, 1000), (3, 20_000)])
@pytest.mark.parametrize("used", [1, 0.4])
def test_units_held_by_an_idle_process_are_called_back(processes, amount, used):
    for seed in range(20 if LONG else 2):
        unit = "request" if used == 1 else "token"
        world = World([quota(unit, amount)], processes=processes, seed=seed)
        for process in world.processes[1:]:
            Client(process, handler_ms=2, units=10, used=used, calls=amount // 100)
        Client(world.processes[0], handler_ms=2, units=10, used=used)
        while not any(refusal.retry_after_s > 60 for _, refusal in world.refused):
            world.run(0.5)
        spent = sum(units if unit == "token" else 1 for _, units in world.admitted)
        assert amount - (0 if unit == "request" else 9) <= spent <= amount
        assert max(waited_ns for _, waited_ns in world.waits) <= 5 * SECOND
        world.check()


@pytest.mark.parametrize("processes", [1, 3])
def test_refused_calls_wait_only_while_units_may_be_returned(processes):
    """With less left than a call reserves, and nothing reserved or held elsewhere, calls are refused at once."""
    for seed in range(20 if LONG else 4):
        world = World([quota("token", 10_500)], processes=processes, seed=seed)
        for process in world.processes:
            Client(process, handler_ms=20, used=1)
        while not any(refusal.retry_after_s > 60 for _, refusal in world.refused):
            world.run(0.5)
        assert len(world.admitted) == 10
        assert len(world.refused) <= 3 * processes
        world.run(5)
        known = len(world.refused)
        for number in range(10):
            Client(world.processes[number % processes], handler_ms=20, calls=1)
            world.run(2)
        assert len(world.refused) == known + 10
        assert all(refusal.retry_after_s > 60 for _, refusal in world.refused[known:])
        assert sorted(world.refusals_took_ns[known:])[5] <= 20 * MS
        assert max(world.refusals_took_ns[known:]) <= 2 * SECOND


@pytest.mark.parametrize(("processes", "amount"), [(1, 20_000), (2, 20_000), (4, 20_000), (4, 2_000_000)])
def test_remaining_units_of_a_quota_are_the_unused_ones(processes, amount):
    for seed in range(20 if LONG else 2):
        world = World([quota("request", amount)], processes=processes, seed=seed)
        for process in world.processes:
            Client(process, handler_ms=5)  # 200 per second and process
        amiss = []
        for _ in range(120):
            world.run(0.1)
            told = [process.pools[0].remaining(world.now_ns) for process in world.processes]
            amiss.append(max(abs(amount - len(world.admitted) - one) for one in told))
        assert max(amiss[60:]) <= (amount // 100 if processes > 1 else 0)
        world.check()


@pytest.mark.parametrize(
    ("processes", "amount", "pause_ms", "off_percent"),
    [(2, 6_000, 2000, 0.5), (4, 6_000, 500, 1), (2, 600, 3000, 1), (4, 6_000, 60, 5), (4, 100_000, 10, 2)],
)
def test_remaining_units_of_a_rate_are_close_to_the_unused_ones(processes, amount, pause_ms, off_percent):
    """Even for rare callers, the figure does not drop to the units that the process holds."""
    world = World([rate("request", amount)], processes=processes, seed=1)
    for process in world.processes:
        Client(process, handler_ms=5, pause_ms=pause_ms)
    amiss = []
    for _ in range(900 if LONG else 300):
        world.run(0.1)
        used = sum(moment > world.now_ns - 60 * SECOND for moment, _ in world.admitted)
        told = [process.pools[0].remaining(world.now_ns) for process in world.processes]
        amiss.append(max(abs(amount - used - one) for one in told))
    assert max(amiss[60:]) <= off_percent * amount / 100
    assert not world.refused


def test_processes_that_do_not_use_a_limit_have_no_share_of_it():
    """Processes that only send heartbeats do not reduce the share of the others."""
    world = World([rate("request", 2000, 10)], processes=200, seed=1)
    for process in world.processes[:10]:
        Client(process, handler_ms=1, pause_ms=32)  # 1.5 times as many calls as the limit allows
    world.run(12)
    world.check()
    assert world.refused
    assert all(refusal.retry_after_s <= 10.5 for _, refusal in world.refused)
    used = sum(moment >= world.now_ns - 10 * SECOND for moment, _ in world.admitted)
    assert used >= 0.9 * 2000


def test_leases_cover_calls_that_use_more_than_they_reserve():
    """The units held ahead depend on usage, not on reservations."""
    world = World([rate("token", 10**9)], processes=1, seed=1)
    for _ in range(16):
        Client(world.processes[0], handler_ms=5, units=10, used=20)
    world.run(8)
    assert not world.refused
    assert sum(sent_ns >= world.now_ns - 4 * SECOND for sent_ns in world.processes[0].beats) <= 12
    world.check()


@pytest.mark.parametrize("lost", [0, 0.2])
def test_what_calls_used_beyond_their_reservations_is_counted_though_nothing_is_left(lost):
    for seed in range(20 if LONG else 3):
        world = World([quota("token", 10_000)], processes=2, seed=seed, lost=lost)
        for process in world.processes:
            Client(process, handler_ms=20, used=7)
        world.run(20)
        used = sum(units for _, units in world.admitted)
        assert used > 10_000
        assert world.store.states[world.limits[0].id].used == used
        assert not any(process.pools[0].debt for process in world.processes)
