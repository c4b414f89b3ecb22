"""Plans that change under traffic: calls within the limits are admitted, regardless of the previous plan.

The decisions of processes and key service are the production code; the network, the feed of changes, the handlers and
the clients are simulated. A plan changes while heartbeats are in progress: a requested limit may be gone when the
heartbeat arrives, or between reading the changes and reading the limits.
"""

from types import SimpleNamespace

import pytest
from test_limits_simulation import EPOCH_US, LONG, MS, SECOND, T_MAX_NS, Store, told
from test_liveness_simulation import INTERVAL_NS, Process, World

from keygauge.call import Call
from keygauge.key import digest, generate
from keygauge.limits.admission import Admission
from keygauge.limits.authorizer import Authorizer, NeedsBody
from keygauge.limits.reading.estimate import Estimate
from keygauge.limits.refusal import Refusal
from keygauge.sync.lease_sync import LeaseSync
from keygauge.usage.counts import Usage
from keygauge_keyservice.limits import kinds
from keygauge_keyservice.limits.kinds import concurrency

TOKEN = generate("live").encode()
EMPTY = {"head": 0, "cells": [0], "ends": [], "out": 0}
CHAT = Estimate(input_tokens=24, asks=True)


def limit(name, unit, amount, **terms):
    return {"name": name, "unit": unit, "amount": amount, "window_s": None, "period": None, "whose": "account"} | terms


RPM, MONTH = limit("rpm", "request", 10**8, window_s=60), limit("month", "request", 10**8, period="month")
TPM, SLOTS = limit("tpm", "token", 5 * 10**8, window_s=60), limit("slots", "concurrent", 500)
POINTS = limit("points", "weighted", 10**9, period="day", weights={"request": 1, "input": 1, "output": 4})
PLANS = {
    "rpm, month; tpm, slots": [[RPM, MONTH], [TPM, SLOTS]],
    "rpm; slots": [[RPM], [SLOTS]],
    "tpm; none": [[TPM], []],
    "month; tpm; points": [[MONTH], [TPM], [POINTS]],
    "more; less": [[RPM, SLOTS], [RPM | {"amount": 10**7}, SLOTS | {"amount": 100}]],
    "all; one": [[RPM, MONTH, TPM, SLOTS], [MONTH]],
}


class ChangingStore(Store):
    """A key service whose plan changes: limits with the same unit and period keep their use, others start unused."""

    def __init__(self, limits):
        super().__init__({})
        self.changes, self.ids, self.last_id = 0, {}, 0
        self.change(limits)

    def change(self, limits):
        before, self.ids = self.ids, {}
        for one in limits:
            measure = one["unit"], one["window_s"], one["period"]
            if measure not in before:
                self.last_id += 1
            self.ids[measure] = before.get(measure, self.last_id)
        self.limits = [one | {"id": str(self.ids[one["unit"], one["window_s"], one["period"]])} for one in limits]
        self.terms = {f"{x['id']}:a": {"smooth": False, "anchor": None, "zone": None} | x for x in self.limits}
        self.states = {name: self.states.get(name) or kinds.load(x | EMPTY) for name, x in self.terms.items()}
        self.leases = {number: row for number, row in self.leases.items() if row["state"] in self.terms}
        self.changes += 1

    def plan(self, seen):
        """Return the changed plan for a replica that has seen `seen` changes."""
        return [{"id": "p", "limits": self.limits, "providers": []}] if seen < self.changes else []

    def exchange(self, replica, message, real_ns, replicas):
        now_us = EPOCH_US + real_ns // 1000
        known = [one for one in message["acquire"] if one["limit"] in self.terms]
        kept = []
        for item in message.get("hold", ()):
            row = self.leases.get(int(item["lease"]))
            if row and row["replica"] == replica and row["ends_us"] > now_us:
                row |= {"units": min(row["units"], item["units"]), "ends_us": now_us + concurrency.LIFE_US}
                kept.append(concurrency.Kept(item["lease"], is_scarce=False, left=0))
        answer = super().exchange(replica, message | {"acquire": known}, real_ns, replicas)
        return answer | {"held": told((), kept)["held"]}

    def _take_back(self, replica, returns, now_us, reading):
        refunds = super()._take_back(replica, returns, now_us, reading)
        for name, terms in self.terms.items():
            if terms["unit"] == "concurrent":
                live = (x for x in self.leases.values() if x["state"] == name and x["ends_us"] > now_us)
                self.states[name] = concurrency.Concurrency(sum(x["units"] for x in live))
        return refunds


class ChangingWorld(World):
    def __init__(self, plans, *, processes, seed, gap_s, slow_ms=10, lost=0.0):
        super().__init__([], processes=0, seed=seed, lost=lost, slow_ms=slow_ms)
        self.store = ChangingStore(plans[0])
        self.processes = [ChangingProcess(self, number) for number in range(processes)]
        self.plans, self.gap_s, self.turn = plans, gap_s, 0
        self._change_later()

    def _change_later(self):
        def change():
            self.turn += 1
            self.store.change(self.plans[self.turn % len(self.plans)])
            self._change_later()

        self.at(self.now_ns + int(self.gap_s * SECOND * self.dice.uniform(0.5, 1.5)), change)


class ChangingProcess(Process):
    """A process with one key, and the key's plan as of its last heartbeat."""

    def __init__(self, world, number):
        self.world, self.name = world, f"r{number}"
        self.admission = Admission(wake=self.wake, clock=lambda: world.now_ns)
        entry = {"id": "key", "account": "a", "plan": "p", "status": "active", "expires_at": None}
        entry |= {"secrets": [{"number": 1, "expires_at": None}]}
        entry["limits"] = [one | {"id": f"{one['id']}:a"} for one in world.store.limits]
        self.admission.key_cache.put([entry], wanted=frozenset(["key"]))
        self.admission.key_cache.learn(digest(TOKEN.decode()), "key", 1)
        self.authorizer = Authorizer(
            SimpleNamespace(admission=self.admission, costing=None), enforces=True, wait_s=0.25
        )
        self.sync = LeaseSync(self.admission)
        self.seen = world.store.changes
        self.beats, self.failed_ns = [], 0
        self._due = self._busy = False
        self._turn = 0
        self.admission.authority_ns = world.now_ns + T_MAX_NS
        self._schedule(world.now_ns)

    def _beat(self):
        world, store = self.world, self.world.store
        self._due, self._busy = False, True
        message, asked = self.sync.offer()
        sent_ns = world.now_ns
        if world.dice.random() < world.lost:
            world.at(sent_ns + 2 * SECOND, lambda: self._fail(asked))
            return

        def look():
            seen, plan = store.changes, store.plan(self.seen)
            world.at(world.now_ns + world.dice.choice([0, 0, world.way_ns()]), lambda: lease(seen, plan))

        def lease(seen, plan):
            answer = self._arrive(message)
            world.at(world.now_ns + world.way_ns(), lambda: take(seen, plan, answer))

        def take(seen, plan, answer):
            with self.admission.lock:
                for one in plan:
                    self.admission.key_cache.change_plan(one, self.admission.held)
                if self.admission.key_cache.lowered:
                    self.wake()
                self.seen = seen
            self._take(answer, asked, sent_ns)

        world.at(sent_ns + world.way_ns(), look)


class Caller:
    """A client that calls one after the other, through the middleware's authorizer."""

    def __init__(self, process, *, handler_ms):
        self.process, self.world, self.handler_ms = process, process.world, handler_ms
        self.world.at(self.world.now_ns + self.world.dice.randrange(MS), self.call)

    def call(self):
        self.made = Call(method="POST", ip="192.0.2.1", time_ns=0, started_ns=self.world.now_ns)
        self.decide()

    def decide(self):
        world, authorizer = self.world, self.process.authorizer
        decision = authorizer.decide(self.made, TOKEN)
        if isinstance(decision, NeedsBody):
            self.made.estimate = CHAT if decision.needs_body else Estimate()
            decision = authorizer.decide(self.made, TOKEN)
        until_ns = authorizer.waits_until_ns(self.made.started_ns)
        if decision is not None and not isinstance(decision, Refusal) and world.now_ns < until_ns:
            self.wait(decision, until_ns)
            return
        authorizer.leave(self.made)
        if decision is not None:
            world.refused.append((world.now_ns, self.made.limit, decision))
            world.at(world.now_ns + SECOND, self.call)
            return
        world.waits.append((0, world.now_ns - self.made.started_ns))
        world.at(world.now_ns + int(self.handler_ms * MS * world.dice.uniform(0.9, 1.1)), self.end)

    def wait(self, decision, until_ns):
        world, done = self.world, []

        def again():
            if not done:
                done.append(True)
                self.decide()

        decision.woken.add_done_callback(lambda _: world.at(world.now_ns + world.dice.randrange(2 * MS), again))
        world.at(min(until_ns, decision.at_ns or until_ns), again)

    def end(self):
        self.made.status, self.made.usage = 200, Usage(10, 20)
        self.made.usage_status = "reported"
        self.process.authorizer.settle(self.made)
        self.call()


@pytest.mark.parametrize(
    ("processes", "handler_ms", "slow_ms", "gap_s"), [(2, 300, 10, 0.8), (2, 20, 40, 0.8), (4, 100, 150, 2)]
)
@pytest.mark.parametrize("plans", PLANS)
def test_plan_changes_refuse_no_call_and_delay_none_beyond_two_heartbeats(plans, processes, handler_ms, slow_ms, gap_s):
    for seed in range(20 if LONG else 2):
        world = ChangingWorld(PLANS[plans], processes=processes, seed=seed, gap_s=gap_s, slow_ms=slow_ms)
        for number in range(30):
            Caller(world.processes[number % processes], handler_ms=handler_ms)
        world.run(8)
        assert world.store.changes > 2
        assert not world.refused
        assert max(waited_ns for _, waited_ns in world.waits) <= 2 * INTERVAL_NS


@pytest.mark.parametrize("plans", ["rpm, month; tpm, slots", "month; tpm; points"])
def test_lost_heartbeats_during_plan_changes_delay_calls_but_refuse_none(plans):
    for seed in range(20 if LONG else 2):
        world = ChangingWorld(PLANS[plans], processes=3, seed=seed, gap_s=0.8, lost=0.05)
        for number in range(30):
            Caller(world.processes[number % 3], handler_ms=100)
        world.run(12)
        assert not any(made for _, made, _ in world.refused)  # none was refused by a limit
