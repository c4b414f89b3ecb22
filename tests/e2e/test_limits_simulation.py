"""The production decisions of replicas and key service, with a simulated network and a virtual clock.

Messages are delayed, reordered, duplicated and lost; replicas crash, pause and have their own clocks, which two of them
may share.
"""

import os
from collections import Counter
from types import SimpleNamespace

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from keygauge.limits.admission import Admission, Reservation, Short
from keygauge.limits.lease_pool import LeasePool
from keygauge.limits.limit import Limit
from keygauge.limits.refusal import Refusal
from keygauge.protocol import Acquisition, ClockReading, Return
from keygauge.sync.lease_sync import LeaseSync
from keygauge_keyservice.limits import kinds, leases
from keygauge_keyservice.limits.kinds.kind import Refund, Wish
from keygauge_keyservice.sync import heartbeat

MS = 1_000_000
SECOND = 1_000 * MS
EPOCH_US = 1_800_000_000_000_000
T_MAX_NS = heartbeat.T_MAX_MS * MS
CALL_US = 3_600_000_000
KEPT_US = 60_000_000  # how long the key service keeps ended leases


def told(granted, kept=()):
    """Return the leases in a heartbeat's answer as JSON types."""
    return msgspec.to_builtins(
        {
            "held": [heartbeat.held(item) for item in kept],
            "grants": [heartbeat.grant(item) for item in granted if item.lease_id is not None],
            "denials": [heartbeat.denial(item) for item in granted if item.lease_id is None],
        }
    )


class Store:
    """The key service: its decisions are the production code, its tables are dictionaries."""

    def __init__(self, terms):
        self.terms = {name: {"anchor": None, "zone": None, **item} for name, item in terms.items()}
        empty = {"head": 0, "cells": [0], "ends": []}
        self.states = {name: kinds.load(item | empty) for name, item in terms.items()}
        self.leases = {}
        self.users = {}  # limit -> replica -> time of its last request, in this order
        self.called_back = set()  # replicas
        self.seen = {}  # replica -> time of its last heartbeat
        self.debts = Counter()  # limit -> units requested because calls used them beyond their reservations
        self.answered = Counter()  # replica -> number of its last heartbeat that requested units
        self.last = self.pruned = 0

    def exchange(self, replica, message, real_ns, replicas):
        now_us = EPOCH_US + real_ns // 1000
        clock = message.get("clock")
        reading = ClockReading(clock["name"], clock["us"]) if clock else None
        returns = [
            Return(x["lease"], x.get("unspent", 0), x.get("ago_us"), x.get("used"), "exact" in x)
            for x in message["return"]
        ]
        refunds = self._take_back(replica, returns, now_us, reading)
        for name, refund in self._take_back_lost(replica, message.get("lost", ())):
            refunds.setdefault(name, []).append(refund)
        self.seen[replica] = now_us
        for item in message.get("progress", ()):
            if int(item["lease"]) in self.leases:
                self.leases[int(item["lease"])] |= {"spent": item["spent"], "reserved": item["reserved"]}
        wanted, repeated = self._wanted(replica, message)
        granted = []
        for name in sorted({*refunds, *wanted}):
            terms = self.terms[name]
            if name in wanted:
                users = self._users(name, replica, now_us)
            state = self.states[name]
            for refund in refunds.get(name, ()):
                state = state.take_back(refund, terms, now_us=now_us)
            if name in wanted:
                grant = state.give(Wish(wanted[name], now_us, users, reading), terms)
                if grant.units and not terms["smooth"]:
                    self.debts[name] += wanted[name].debt if terms["period"] else 0
                    most = terms["amount"] + self.debts[name]
                    assert counting(state, grant, terms, reading, now_us) <= most  # no grant above the limit
                state, number = grant.state, None
                lacks = max(1, wanted[name].least - grant.units)
                is_short = leases.lacks(grant, wanted[name])
                back = self._call_back(name, replica, lacks, now_us) if is_short else 0
                is_soon, retry_us = is_short and back >= lacks, grant.retry_us(max(1, lacks - back))
                if grant.units:
                    self.last += 1
                    number = self.last
                    row = {"state": name, "replica": replica, "heartbeat": message["number"]}
                    row |= {"units": grant.units, "ends_us": grant.ends_us}
                    self.leases[number] = {
                        **row,
                        "bucket": grant.bucket,
                        "closed": False,
                        "wanted_us": 0,
                        "spent": 0,
                        "reserved": 0,
                    }
                unused = self._unused(name, replica, grant.remaining, now_us) if grant.units else None
                granted.append(leases.Granted(name, number, grant, now_us, users, unused, is_soon, retry_us))
            self.states[name] = state
        self._prune(now_us)
        return {
            **told(granted),
            "replicas": replicas,
            "t_max_ms": heartbeat.T_MAX_MS,
            "more": False,
            "repeated": repeated,
            "wanted": self._wanted_back(replica, now_us) if replica in self.called_back else [],
        }

    def _wanted(self, replica, message):
        wanted = {x["limit"]: Acquisition(**x) for x in message["acquire"]}
        if wanted and message["number"] <= self.answered[replica]:
            return {}, True
        self.answered[replica] = message["number"] if wanted else self.answered[replica]
        return wanted, False

    def _unused(self, name, replica, remaining, now_us):
        rows = [x for x in self._open(now_us - 2_000_000) if x["state"] == name and x["replica"] != replica]
        told = [now_us - self.seen[other] for other in {x["replica"] for x in rows}]
        ago_ms = sum(told) // 1000 // max(1, len(told))
        return leases.Unused(remaining + sum(x["units"] - x["spent"] for x in rows), ago_ms)

    def _wanted_back(self, replica, now_us):
        return sorted({x["state"] for x in self._open(now_us) if x["replica"] == replica and x["wanted_us"]})

    def _users(self, name, replica, now_us):
        seen = self.users.setdefault(name, {})
        seen.pop(replica, None)
        seen[replica] = now_us
        while next(iter(seen.values())) <= now_us - 40_000_000:
            del seen[next(iter(seen))]
        return len(seen)

    def _prune(self, now_us):
        if self.last < self.pruned + 1000:
            return
        self.pruned = self.last
        for number, row in list(self.leases.items()):
            if row["ends_us"] < now_us - KEPT_US:
                del self.leases[number]

    def _open(self, now_us):
        return [x for x in self.leases.values() if not x["closed"] and x["ends_us"] > now_us]

    def _call_back(self, name, replica, lacks, now_us):
        live = [x for x in self.leases.values() if x["state"] == name and x["ends_us"] > now_us - 2_000_000]
        others = [x for x in live if x["replica"] != replica and not x["closed"]]
        idle = [x for x in others if not x["wanted_us"] or x["wanted_us"] > now_us - 5_000_000]
        coming = sum(x["units"] if x["closed"] else x["reserved"] for x in live)
        back = coming + sum(x["units"] - x["spent"] for x in idle)
        for row in others if back >= lacks else ():
            row["wanted_us"] = row["wanted_us"] or now_us
            self.called_back.add(row["replica"])
        return back

    def _take_back_lost(self, replica, lost):
        for number, row in list(self.leases.items()):
            if row["replica"] == replica and any(x["first"] <= row["heartbeat"] <= x["last"] for x in lost):
                del self.leases[number]
                yield row["state"], Refund(row["bucket"], row["units"], 0)

    def _take_back(self, replica, returns, now_us, reading):
        refunds = {}
        for item in returns:
            row = self.leases.get(int(item.lease))
            if row is None or row["replica"] != replica:
                continue
            if item.used is not None:
                unspent = max(row["units"] - item.used, 0)
                refunds.setdefault(row["state"], []).append(Refund(row["bucket"], unspent, 0))
                row |= {"units": min(row["units"], item.used), "ends_us": now_us + CALL_US, "closed": True}
                continue
            del self.leases[int(item.lease)]
            unspent = min(item.unspent, row["units"])
            spent = leases.spent_before(item, reading)
            refund = Refund(row["bucket"], unspent, row["units"] - unspent, item.ago_us, spent)
            refunds.setdefault(row["state"], []).append(refund)
        return refunds


def counting(before, grant, terms, reading, now_us):
    """Return the units that count against a limit when a grant may first be spent, with the log before the grant."""
    if terms["window_s"] is None:
        return grant.state.used
    start_us = max(grant.start_us, now_us + grant.wait_us)
    window_us = terms["window_s"] * 1_000_000
    seen = before.since(now_us - window_us).read_by(reading, now_us)
    return grant.units + seen.since(start_us - window_us).used


class Replica:
    def __init__(self, world, name, skew_ns, clock=None):
        self.name = name
        self.skew_ns = skew_ns
        self.admission = Admission(wake=lambda: None, clock=lambda: world.real_ns + skew_ns)
        self.lease_pools = tuple(LeasePool(limit) for limit in world.limits)
        self.key = SimpleNamespace(lease_pools=self.lease_pools)
        self.lease_sync = LeaseSync(self.admission, clock=clock)
        self.asked = None  # the offer in progress
        self.answered = set()  # numbers of the offers whose answers arrived in time
        self.admission.authority_ns = self.admission.clock() + T_MAX_NS
        self.reached_ns = world.real_ns

    def held(self, number):
        lease_pool = self.lease_pools[number]
        return sum(lease.available + lease.reserved for lease in [*lease_pool.leases, *lease_pool.closing])


class World(RuleBasedStateMachine):
    """Calls through `Admission.admit`."""

    LIMITS = ()
    REPLICAS = 3

    @initialize(skews=st.lists(st.integers(-(10**12), 10**12), min_size=3, max_size=3))
    def begin(self, skews):
        self.real_ns = 10**12
        self.limits = self.LIMITS
        self.store = Store(
            {
                x.id: {
                    "unit": x.unit,
                    "amount": x.amount,
                    "window_s": x.window_s,
                    "period": x.period,
                    "smooth": "smooth" in x.name,
                }
                for x in self.limits
            }
        )
        self.skews = [skews[0], skews[0], skews[2]]
        self.replicas = [self._replica(number) for number in range(self.REPLICAS)]
        self.requests, self.answers = [], []
        self.waiting = []  # calls that will be decided again, woken or not
        self.admitted = []  # (time, units)
        self.overdrawn = 0  # units that calls used beyond their reservations
        self.everyone = {replica.name: replica for replica in self.replicas}
        self.names = self.REPLICAS

    def _replica(self, number, name=None):
        clock = ("a host", "a host", "another")[number]
        return Replica(self, f"r{number if name is None else name}", self.skews[number], clock)

    @rule(step_ms=st.one_of(st.integers(0, 60), st.integers(0, 3000)))
    def pass_time(self, step_ms):
        self.real_ns += step_ms * MS + 1

    @rule(number=st.integers(0, 2), times=st.integers(1, 4))
    def call(self, number, times):
        replica = self.replicas[number % len(self.replicas)]
        for _ in range(times):
            self.decide(replica)

    def decide(self, replica, *, is_late=False, waiter=None):
        since_ns = 0 if is_late else replica.admission.clock()
        before = [replica.held(limit) for limit in range(len(self.limits))]
        decision = replica.admission.admit(replica.key, since_ns, waiter)
        spent = [held - replica.held(limit) for limit, held in enumerate(before)]
        if decision is None:
            assert self.real_ns < replica.reached_ns + T_MAX_NS  # no admission after a longer disconnect
            assert spent == [1] * len(self.limits)
            self.admit(1)
        else:
            assert not any(spent)  # a refused call uses nothing of any limit
            if isinstance(decision, Short):
                self.waiting.append((replica, decision))
            else:
                assert isinstance(decision, Refusal)
                assert waiter is None or not any(waiter in lease_pool.waiting for lease_pool in replica.lease_pools)

    def admit(self, units):
        self.admitted.append((self.real_ns, units))
        self.check_windows()

    @rule(number=st.integers(0, 2), stopping=st.booleans())
    def send(self, number, stopping):
        replica = self.replicas[number % len(self.replicas)]
        if replica.asked is None:
            message, replica.asked = replica.lease_sync.offer(stopping=stopping and number == 0)
            self.requests.append((replica, message, self.real_ns, replica.asked))

    @precondition(lambda self: self.requests)
    @rule(place=st.integers(0, 20), doubled=st.integers(0, 9))
    def arrive(self, place, doubled):
        place %= len(self.requests)
        replica, message, real_sent_ns, asked = self.requests[place]
        if doubled:  # otherwise it arrives once more, later
            del self.requests[place]
        answer = self.store.exchange(replica.name, message, self.real_ns, self.REPLICAS)
        self.answers.append((replica, answer, real_sent_ns, asked))

    @precondition(lambda self: self.answers)
    @rule(place=st.integers(0, 20))
    def answer(self, place):
        replica, answer, real_sent_ns, asked = self.answers.pop(place % len(self.answers))
        if replica.asked is asked:  # neither given up nor already answered
            replica.lease_sync.take(answer, asked)
            replica.asked = None
            if not answer["repeated"]:
                replica.answered.add(asked.number)
            replica.reached_ns = real_sent_ns

    @rule(number=st.integers(0, 2), there_ms=st.integers(0, 400), back_ms=st.integers(0, 400))
    def heartbeat(self, number, there_ms, back_ms):
        """A heartbeat that arrives and is answered, with nothing else in between."""
        replica = self.replicas[number % len(self.replicas)]
        if replica.asked is not None:
            return
        self.send(number=number, stopping=False)
        self.real_ns += there_ms * MS
        self.arrive(place=len(self.requests) - 1, doubled=1)
        self.real_ns += back_ms * MS
        self.answer(place=len(self.answers) - 1)

    @rule(number=st.integers(0, 2))
    def give_up(self, number):
        """The offer or its answer is lost, or arrives too late."""
        replica = self.replicas[number % len(self.replicas)]
        if replica.asked is not None:
            replica.lease_sync.give_up(replica.asked)
            replica.asked = None

    @rule(number=st.integers(0, 2))
    def crash(self, number):
        number %= len(self.replicas)
        if number == 1:
            self.names += 1
            gone = self.replicas[number]
            self.waiting = [call for call in self.waiting if call[0] is not gone]
            self.replicas[number] = self._replica(number, self.names)
            self.everyone[self.replicas[number].name] = self.replicas[number]

    @precondition(lambda self: self.waiting)
    @rule(place=st.integers(0, 20))
    def leave(self, place):
        """A waiting call is cancelled, or gives up."""
        replica, short = self.waiting.pop(place % len(self.waiting))
        replica.admission.leave(short.waiter)

    @invariant()
    def only_calls_that_wait_are_waited_for(self):
        for replica in getattr(self, "replicas", ()):
            waiters = {short.waiter for caller, short in self.waiting if caller is replica}
            for lease_pool in replica.lease_pools:
                assert set(lease_pool.waiting) <= waiters
                assert lease_pool.awaited == sum(lease_pool.waiting.values())

    def check_windows(self):
        newest, _ = self.admitted[-1]
        for limit in self.limits:
            if limit.window_s:  # the closed window that ends with the newest
                since = newest - limit.window_s * SECOND
                assert sum(units for moment, units in self.admitted if moment >= since) <= limit.amount
            else:  # the period outlasts the test
                assert sum(units for _, units in self.admitted) <= limit.amount

    @invariant()
    def nothing_is_negative_nor_counted_twice(self):
        if not hasattr(self, "store"):
            return
        for replica in self.replicas:
            for lease_pool in replica.lease_pools:
                assert lease_pool.remaining(replica.admission.clock()) >= 0
                for lease in [*lease_pool.leases, *lease_pool.closing]:
                    assert 0 <= lease.available <= lease.units
                    assert min(lease.reserved, lease.refund) >= 0
        assert all(state.used >= 0 for state in self.store.states.values())
        for limit in self.limits:  # the store counts units that are spent or may still be spent
            if limit.period:
                assert self.store.states[limit.id].used >= sum(units for _, units in self.admitted)
                on_their_way = sum(
                    row["units"]
                    for row in self.store.leases.values()
                    if row["state"] == limit.id and row["heartbeat"] not in self.everyone[row["replica"]].answered
                )
                assert self.store.states[limit.id].used <= limit.amount + self.overdrawn + on_their_way


class Requests(World):
    """Calls that may wait."""

    @precondition(lambda self: self.waiting)
    @rule(place=st.integers(0, 20), pauses=st.booleans(), is_late=st.booleans())
    def call_again(self, place, pauses, is_late):
        """A waiting call is decided again, at the time that it was told or another."""
        replica, short = self.waiting.pop(place % len(self.waiting))
        if short.wait.at_ns is not None and not pauses:
            self.real_ns = max(self.real_ns, short.wait.at_ns - replica.skew_ns)
        self.decide(replica, is_late=is_late, waiter=short.waiter)

    @rule(number=st.integers(0, 2), ms=st.lists(st.integers(0, 90), min_size=4, max_size=4), is_late=st.booleans())
    def come(self, number, ms, is_late):
        """A call is decided with the heartbeats that it needs, and reported."""
        self._come(number, ms, is_late)

    @precondition(lambda self: self.admitted)
    @rule(
        early_ms=st.integers(-20, 260),
        number=st.integers(0, 2),
        ms=st.lists(st.integers(0, 60), min_size=4, max_size=4),
        is_late=st.booleans(),
    )
    def come_about_when_a_unit_is_free(self, early_ms, number, ms, is_late):
        limit = self.limits[0]
        if limit.window_s:
            moments = sorted(moment for moment, _ in self.admitted)
            free_ns = moments[-min(limit.amount, len(moments))] + limit.window_s * SECOND
            self.real_ns = max(self.real_ns, free_ns - early_ms * MS)
        self._come(number, ms, is_late)

    def _come(self, number, ms, is_late):
        waiting = len(self.waiting)
        self.decide(self.replicas[number])
        self.heartbeat(number=number, there_ms=ms[0], back_ms=ms[1])
        for _ in range(2):
            if len(self.waiting) > waiting:
                self.call_again(place=waiting, pauses=False, is_late=is_late)
        self.heartbeat(number=number, there_ms=ms[2], back_ms=ms[3])


def rate(name, amount, window_s):
    return Limit(name, name, "request", amount, window_s, None)


def quota(name, amount):
    return Limit(name, name, "request", amount, None, "month")


@pytest.mark.parametrize(
    "limits",
    [
        [rate("one", 1, 1)],
        [rate("few", 3, 2)],
        [rate("large", 40, 1)],
        [rate("smooth", 5, 1)],
        [rate("smooth", 300, 2)],
        [rate("large", 60, 3), quota("monthly", 50)],
        [rate("few", 15, 1), rate("large", 30, 4), quota("monthly", 100)],
    ],
    ids=lambda limits: "+".join(f"{limit.amount}" for limit in limits),
)
def test_limits_hold_under_any_order_of_events(limits):
    machine = type("Machine", (Requests,), {"LIMITS": tuple(limits)})
    run_state_machine_as_test(machine, settings=PROFILE)


LONG = os.environ.get("KEYGAUGE_TEST_LONG") == "1"
PROFILE = settings(
    max_examples=2000 if LONG else 25,
    stateful_step_count=100 if LONG else 60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


class Tokens(World):
    """Tokens: reserved before a call and settled after it, with at most the reserved units used."""

    @rule(number=st.integers(0, 2), units=st.integers(1, 30))
    def call(self, number, units):
        self.reserve(self.replicas[number % len(self.replicas)], units)

    @precondition(lambda self: self.waiting)
    @rule(place=st.integers(0, 20))
    def call_again(self, place):
        replica, short = self.waiting.pop(place % len(self.waiting))
        self.reserve(replica, replica.lease_pools[0].waiting[short.waiter], short.waiter)

    def reserve(self, replica, units, waiter=None):
        claims = [(lease_pool, units) for lease_pool in replica.lease_pools]
        decision = replica.admission.reserve(claims, replica.admission.clock(), waiter)
        if isinstance(decision, Reservation):
            assert sum(part for _, _, part in decision.parts) == units * len(claims)
            self.admit(units)
            self._open().append((replica, decision, units, len(self.admitted) - 1))
        elif isinstance(decision, Short):
            self.waiting.append((replica, decision))

    def _open(self):
        if not hasattr(self, "calls"):
            self.calls = []
        return self.calls

    @precondition(lambda self: self._open())
    @rule(place=st.integers(0, 20), share=st.integers(0, 100))
    def settle(self, place, share):
        replica, reservation, units, index = self.calls.pop(place % len(self.calls))
        used = units * share // 100
        self.end(replica, reservation, used)
        self.admitted[index] = (self.admitted[index][0], min(used, units))  # returned units may be admitted again

    def end(self, replica, reservation, used):
        replica.admission.settle(reservation, dict.fromkeys(("token", "input_token", "output_token"), used))

    @precondition(lambda self: self._open())
    @rule(place=st.integers(0, 20))
    def settle_unknown(self, place):
        replica, reservation, _, _ = self.calls.pop(place % len(self.calls))
        self.end(replica, reservation, None)


def tokens(name, amount, window_s=None, period=None, unit="token"):
    return Limit(name, name, unit, amount, window_s, period)


@pytest.mark.parametrize(
    "limits",
    [[tokens("tpm", 50, 1)], [tokens("tpm", 200, 3)], [tokens("monthly", 100, period="month")],
     [tokens("tpm", 60, 2), tokens("monthly", 300, period="month")],
     [tokens("itpm", 70, 2, unit="input_token"), tokens("otpm", 80, 2, unit="output_token")]],
    ids=lambda limits: "+".join(f"{limit.amount}" for limit in limits),
)  # fmt: skip
def test_tokens_hold_under_any_order_of_events(limits):
    machine = type("Machine", (Tokens,), {"LIMITS": tuple(limits)})
    run_state_machine_as_test(machine, settings=PROFILE)


class Money(Tokens):
    """Cost: like tokens, but calls may cost more than they reserved, for example if the price was unknown."""

    @precondition(lambda self: self._open())
    @rule(place=st.integers(0, 20), share=st.integers(0, 300))
    def settle(self, place, share):
        super().settle(place, share)

    @rule(number=st.integers(0, 2), used=st.integers(2, 90))
    def overdraw(self, number, used):
        """A call uses more than it reserved, and the heartbeat that says so arrives twice."""
        replica = self.replicas[number % len(self.replicas)]
        if replica.asked is not None:
            return
        calls = len(self._open())
        self.reserve(replica, 1)
        if len(self._open()) > calls:
            self.settle(place=calls, share=used * 100)
        self.send(number=number, stopping=False)
        for doubled in (0, 1):
            self.arrive(place=len(self.requests) - 1, doubled=doubled)
        self.answer(place=len(self.answers) - 2)

    def end(self, replica, reservation, used):
        reserved = sum(units for _, _, units in reservation.parts) // len(self.limits)
        self.overdrawn += max(0, (used or 0) - reserved)
        replica.admission.settle(reservation, {"nanousd": used})


def money(name, amount, window_s=None, period=None):
    return Limit(name, name, "nanousd", amount, window_s, period)


@pytest.mark.parametrize(
    "limits",
    [
        [money("daily", 100, period="day")],
        [money("daily", 40, period="day"), money("monthly", 300, period="month")],
        [money("burst", 60, 2), money("monthly", 300, period="month")],
    ],
    ids=lambda limits: "+".join(f"{limit.amount}" for limit in limits),
)
def test_budgets_hold_under_any_order_of_events(limits):
    machine = type("Machine", (Money,), {"LIMITS": tuple(limits)})
    run_state_machine_as_test(machine, settings=PROFILE)
