"""Limits per tag under any order of messages: processes that forget tags, and the key service."""

from concurrent.futures import Future
from types import SimpleNamespace

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule, run_state_machine_as_test
from test_limits_simulation import PROFILE, SECOND, T_MAX_NS, World

from keygauge.call import Call
from keygauge.key import digest, generate
from keygauge.limits import tag_pools
from keygauge.limits.admission import Admission
from keygauge.limits.authorizer import Authorizer
from keygauge.limits.limit import Limit
from keygauge.limits.refusal import Refusal
from keygauge.sync.lease_sync import LeaseSync
from keygauge_keyservice.limits import kinds

TOKEN = generate("live").encode()
TAGS = ("ada", "bob", "é", "a" * 128, None)
EMPTY = {"head": 0, "cells": [0], "ends": []}


class ByTag(dict):
    """Initial counters of a limit, created on first use."""

    def __init__(self, first, make):
        super().__init__(first)
        self.make = make

    def __missing__(self, number):
        self[number] = self.make(":".join(number.split(":")[:2]))
        return self[number]


class Replica:
    def __init__(self, world, name, skew_ns, clock, limits):
        self.name = name
        self.answered = set()  # numbers of the offers whose answers arrived in time
        self.admission = Admission(wake=lambda: None, clock=lambda: world.real_ns + skew_ns)
        entry = {"id": "key", "account": "a", "plan": "p", "status": "active", "expires_at": None, "limits": limits}
        entry["secrets"] = [{"number": 1, "expires_at": None}]
        self.admission.key_cache.put([entry], wanted=frozenset(["key"]))
        self.admission.key_cache.learn(digest(TOKEN.decode()), "key", 1)
        sync = SimpleNamespace(admission=self.admission, costing=None, next_round=Future, wake=lambda: None)
        self.authorizer = Authorizer(sync, enforces=True, wait_s=0.25)
        self.lease_sync = LeaseSync(self.admission, clock=clock)
        self.asked = None
        self.admission.authority_ns = self.admission.clock() + T_MAX_NS
        self.reached_ns = world.real_ns

    @property
    def lease_pools(self):
        return list(self.admission.key_cache._known_tags._pools.values())


class Tagged(World):
    TERMS = ()

    @initialize(skews=st.lists(st.integers(-(10**12), 10**12), min_size=3, max_size=3))
    def begin(self, skews):
        self.LIMITS = tuple(Limit.from_json(terms) for terms in self.TERMS)
        super().begin(skews)
        terms = self.store.terms
        self.store.terms = ByTag(terms, terms.__getitem__)
        self.store.states = ByTag({}, lambda number: kinds.load(terms[number] | EMPTY))

    def _replica(self, number, name=None):
        clock = ("a host", "a host", "another")[number]
        return Replica(self, f"r{number if name is None else name}", self.skews[number], clock, self.TERMS)

    @rule(number=st.integers(0, 2), tag=st.sampled_from(TAGS), times=st.integers(1, 4))
    def call(self, number, tag, times):
        replica = self.replicas[number]
        for _ in range(times):
            since_ns = replica.admission.clock()
            self.decide(replica, Call(method="GET", ip=None, time_ns=0, started_ns=since_ns, tag=tag))

    @precondition(lambda self: self.waiting)
    @rule(place=st.integers(0, 20))
    def call_again(self, place):
        self.decide(*self.waiting.pop(place % len(self.waiting)))

    def decide(self, replica, call):
        decision = replica.authorizer.decide(call, TOKEN)
        if decision is None:
            self.admitted.append((self.real_ns, call.tag))
            self.check(call.tag)
        elif isinstance(decision, Refusal):
            if decision.limit is not None:
                assert decision.whose == ("untagged" if call.tag is None else "tag")
                assert call.policy.fields(call.policy.as_bytes, replica.admission.clock())
        else:
            self.waiting.append((replica, call))

    def check(self, tag):
        for limit in self.limits:
            since = self.real_ns - limit.window_s * SECOND if limit.window_s else 0
            assert sum(moment >= since for moment, of in self.admitted if of == tag) <= limit.amount

    @invariant()
    def nothing_is_negative_nor_counted_twice(self):
        for replica in getattr(self, "replicas", ()):
            ids = [lease_pool.limit.id for lease_pool in {*replica.lease_pools, *replica.admission.held}]
            assert len(set(ids)) == len(ids)


def terms(number, name, amount, **when):
    told = {"id": f"{number}:a", "name": name, "unit": "request", "amount": amount, "per_tag": True, "whose": "account"}
    return {**told, "window_s": None, "period": None} | when


@pytest.mark.parametrize(
    "limits",
    [
        [terms(1, "daily", 3, period="day")],
        [terms(1, "daily", 40, period="day"), terms(2, "rate", 5, window_s=2)],
        [terms(1, "smooth", 60, window_s=2)],
        [terms(1, "large", 40, window_s=1), terms(2, "lifetime", 100, period="lifetime")],
    ],
    ids=lambda limits: "+".join(f"{limit['amount']}" for limit in limits),
)
def test_limits_per_tag_hold_under_any_order_of_events(limits, monkeypatch):
    monkeypatch.setattr(tag_pools, "_RECENT", 2)  # other tags are forgotten as soon as no units of them are held
    run_state_machine_as_test(type("Machine", (Tagged,), {"TERMS": limits}), settings=PROFILE)
