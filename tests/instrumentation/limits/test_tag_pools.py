"""Limits with a counter per tag: one lease pool per tag, up to a maximum."""

import gc

import pytest
from scripted_service import ID, TOKEN, Service

from keygauge.call import Call
from keygauge.clock import SECOND
from keygauge.limits import refusal, tag_pools
from keygauge.limits.authorizer import Authorizer
from keygauge.limits.lease import Lease
from keygauge.limits.limit import Limit
from keygauge.limits.tag_pools import KnownTags, TagPools
from keygauge.limits.waiter import Wait

EACH = Limit("7:a", "each", "request", 5, None, "day", per_tag=True)
TERMS = {
    "id": "7:a",
    "name": "each",
    "unit": "request",
    "amount": 5,
    "window_s": None,
    "period": "day",
    "per_tag": True,
}
TERMS |= {"whose": "account"}


@pytest.fixture
def service():
    return Service()


@pytest.fixture
def authorizer(service):
    return Authorizer(service, enforces=True, wait_s=1.0)


def call(service, tag=None):
    return Call(method="GET", ip=None, time_ns=0, started_ns=service.now_ns, tag=tag)


def hold(service, lease_pool, units):
    lease = Lease("1", units, service.now_ns + 20 * SECOND, now_ns=service.now_ns)
    lease_pool.note_left(0, 1, service.now_ns)
    lease_pool.grant(lease, service.now_ns, reset_ns=service.now_ns + 100 * SECOND)
    service.admission.held.add(lease_pool)


def test_each_tag_has_a_counter_whose_id_does_not_reveal_the_tag():
    pools = TagPools(EACH, KnownTags())
    found = {tag: pools.find(tag) for tag in ("ada", "bob", "Ada", "\u00e9", "e\u0301", "7:a", None)}
    ids = {tag: lease_pool.limit.id for tag, lease_pool in found.items()}
    assert len(set(ids.values())) == len(ids)
    assert ids[None] == "7:a"
    assert all(len(number) == len("7:a:") + 32 and tag not in number[4:] for tag, number in ids.items() if tag)
    assert pools.find("ada") is found["ada"]
    assert [found[tag].limit.whose for tag in ("ada", None)] == ["tag", "untagged"]


def test_tags_are_counted_separately_and_calls_without_one_together(service, authorizer):
    service.know(TERMS)
    (pools,) = service.admission.key_cache.keys[ID].tag_pools
    hold(service, pools.find("ada"), 2)
    hold(service, pools.find(None), 1)
    decided = {tag: [authorizer.decide(call(service, tag), TOKEN) for _ in range(3)] for tag in ("ada", "bob", None)}
    admitted = {tag: [decision is None for decision in decisions] for tag, decisions in decided.items()}
    assert admitted == {"ada": [True, True, False], "bob": [False] * 3, None: [True, False, False]}
    assert all(isinstance(decisions[-1], Wait) for decisions in decided.values())


def test_a_refusal_says_that_it_applies_to_this_end_user_only(service, authorizer):
    service.know(TERMS)
    assert isinstance(authorizer.decide(call(service, "ada"), TOKEN), Wait)
    (pools,) = service.admission.key_cache.keys[ID].tag_pools
    for tag in ("ada", None):
        day_ns = service.now_ns + 3600 * SECOND
        pools.find(tag).deny(service.now_ns, day_ns, day_ns)
    refused = [authorizer.decide(call(service, tag), TOKEN) for tag in ("ada", None)]
    assert [(one.code, one.limit, one.whose, one.retry_after_s) for one in refused] == [
        ("quota_exhausted", "each", "tag", 3600),
        ("quota_exhausted", "each", "untagged", 3600),
    ]


def test_headers_report_the_limit_of_the_call_s_tag(service, authorizer):
    rate = {"id": "8:a", "name": "rpm", "unit": "request", "amount": 60, "window_s": 60, "period": None}
    service.know(TERMS, rate | {"whose": "account"})
    key = service.admission.key_cache.keys[ID]
    hold(service, key.lease_pools[0], 40)
    for tag, units in (("ada", 4), ("bob", 2)):
        hold(service, key.tag_pools[0].find(tag), units)
        one = call(service, tag)
        assert authorizer.decide(one, TOKEN) is None
        told = dict(one.policy.fields(one.policy.as_text, service.now_ns))
        as_bytes = one.policy.fields(one.policy.as_bytes, service.now_ns)
        assert {name.decode(): text.decode() for name, text in as_bytes} == told
        assert f'"each";r={units - 1};t=100' in told["ratelimit"]
        assert '"each";q=5;w=86400' in told["ratelimit-policy"]
        assert (told["x-ratelimit-limit-requests"], told["x-ratelimit-remaining-requests"]) == ("5", str(units - 1))
    key.lease_pools[0].leases[0].available = 1
    one = call(service, "cat")
    hold(service, key.tag_pools[0].find("cat"), 5)
    assert authorizer.decide(one, TOKEN) is None
    told = dict(one.policy.fields(one.policy.as_text, service.now_ns))
    assert (told["x-ratelimit-limit-requests"], told["x-ratelimit-remaining-requests"]) == ("60", "0")


def test_unused_tags_are_forgotten(monkeypatch):
    monkeypatch.setattr(tag_pools, "_RECENT", 10)
    known = KnownTags()
    pools = TagPools(EACH, known)
    held = pools.find("held")
    for number in range(1000):
        assert pools.find(f"user {number}") is not None
    gc.collect()
    assert len(known._pools) == len(pools._pools) == 11
    assert pools.find("held") is held


def test_tags_beyond_the_maximum_are_refused_and_others_continue(service, authorizer, monkeypatch):
    monkeypatch.setattr(tag_pools, "MOST", 20)
    monkeypatch.setattr(tag_pools, "MOST_IN_ALL", 30)
    service.know(TERMS)
    (pools,) = service.admission.key_cache.keys[ID].tag_pools
    for number in range(20):
        hold(service, pools.find(str(number)), 2)
    assert authorizer.decide(call(service, "20"), TOKEN) is refusal.UNAVAILABLE
    assert authorizer.decide(call(service, "19"), TOKEN) is None
    limit = Limit("8:b", "each", "request", 5, None, "day", per_tag=True)
    other = TagPools(limit, service.admission.key_cache._known_tags)
    kept = [other.find(str(number)) for number in range(11)]
    assert [lease_pool is None for lease_pool in kept] == [False] * 10 + [True]


def test_a_reloaded_key_uses_the_existing_lease_pools(service):
    service.know(TERMS)
    cache = service.admission.key_cache
    held = cache.keys[ID].tag_pools[0].find("ada")
    cache.keys.clear()
    gc.collect()
    assert not list(cache.tag_pools.values())
    service.know(TERMS)
    assert cache.keys[ID].tag_pools[0].find("ada") is held


def test_a_plan_change_reaches_all_tags_and_lowered_limits_give_back(service):
    service.know(TERMS)
    cache = service.admission.key_cache
    held, other = (cache.keys[ID].tag_pools[0].find(tag) for tag in ("ada", None))
    hold(service, held, 3)
    changed = {"id": "pro", "limits": [TERMS | {"id": "7", "amount": 2}], "providers": []}
    cache.change_plan(changed, service.admission.held)
    assert (held.limit.amount, held.limit.whose, other.limit.amount) == (2, "tag", 2)
    assert cache.lowered == {held, other}
    assert cache.adapt(cache.keys[ID]).tag_pools[0].find("ada") is held
