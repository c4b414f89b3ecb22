import json

import pytest
from memory import keeps_below

from keygauge.limits.key_cache import KeyCache

RPM = {"id": "1", "name": "rpm", "unit": "request", "amount": 100, "window_s": 60, "period": None, "whose": "account"}
EACH = RPM | {"id": "2", "name": "each", "whose": "plan"}
OWN = RPM | {"id": "9:k1", "name": "own", "whose": "key"}


def entry(key, *limits, plan="pro", **changes):
    told = {"id": key, "account": "a", "plan": plan, "status": "active", "expires_at": None}
    return told | {"secrets": [{"number": 1, "expires_at": None}], "limits": limits, "providers": []} | changes


@pytest.fixture
def cache():
    cache = KeyCache()
    each = {key: EACH | {"id": f"2:{key}"} for key in ("k1", "k2")}
    rpm = RPM | {"id": "1:a"}
    other = entry("k3", RPM | {"id": "7:a"}, plan="other")
    entries = [entry("k1", rpm, each["k1"], OWN), entry("k2", rpm, each["k2"]), other]
    cache.put(entries, wanted=frozenset(["k1", "k2", "k3"]))
    return cache


def change(cache, *limits, held=(), providers=()):
    cache.change_plan({"id": "pro", "limits": list(limits), "providers": list(providers)}, held)


def amounts(key):
    return {lease_pool.limit.id: lease_pool.limit.amount for lease_pool in key.lease_pools}


def test_a_changed_plan_changes_only_its_keys_when_they_are_used(cache):
    before = dict(cache.keys)
    change(cache, RPM | {"amount": 5}, EACH, providers=["/v1/*=openai"])
    assert cache.keys == before
    adapted = cache.adapt(before["k1"])
    assert amounts(adapted) == {"1:a": 5, "2:k1": 100, "9:k1": 100}
    assert adapted.providers is not None
    assert cache.keys["k1"] is adapted
    assert cache.adapt(before["k1"]) is adapted
    assert cache.keys["k2"] is before["k2"]
    assert before["k3"].plan.newer is None


def test_keys_of_an_account_still_share_their_leases(cache):
    (shared, each, own) = cache.keys["k1"].lease_pools
    change(cache, EACH, RPM | {"amount": 5})
    assert cache.adapt(cache.keys["k1"]).lease_pools == (each, shared, own)
    assert cache.adapt(cache.keys["k2"]).lease_pools[1] is shared
    assert cache.lowered == {shared}


def test_leases_of_a_lowered_limit_go_back_before_any_key_is_used(cache):
    shared, each, _ = cache.keys["k1"].lease_pools
    change(cache, RPM | {"amount": 5}, EACH | {"amount": 200}, held=[shared, each])
    assert (shared.limit.amount, each.limit.amount) == (5, 200)
    assert cache.lowered == {shared}


def test_leases_of_limits_that_a_key_no_longer_has_go_back(cache):
    shared, each, own = cache.keys["k1"].lease_pools
    cache.put([entry("k1", RPM | {"id": "5:a"}, OWN, plan="other")], wanted=frozenset())
    assert cache.lowered == {shared, each}
    assert own in cache.keys["k1"].lease_pools
    cache.lowered.clear()
    change(cache, RPM)
    (_, second) = cache.keys["k2"].lease_pools
    cache.adapt(cache.keys["k2"])
    assert cache.lowered == {second}


def test_tag_leases_of_a_limit_that_a_key_no_longer_has_go_back(cache):
    tagged = RPM | {"id": "6:a", "per_tag": True}
    cache.put([entry("k1", tagged)], wanted=frozenset())
    cache.lowered.clear()
    pools = [cache.keys["k1"].tag_pools[0].find(tag) for tag in ("alice", None)]
    cache.put([entry("k1", tagged, OWN)], wanted=frozenset())
    assert cache.lowered == set()
    cache.put([entry("k1", OWN)], wanted=frozenset())
    assert cache.lowered == set(pools)


def test_after_several_changes_the_last_limits_apply(cache):
    change(cache, EACH)
    change(cache, EACH | {"amount": 7}, RPM | {"id": "3", "unit": "token", "route": "/chat"})
    adapted = cache.adapt(cache.keys["k2"])
    assert amounts(adapted) == {"2:k2": 7, "3:a": 100}
    assert (adapted.is_plain, adapted.needs_body, adapted.needs_route, adapted.is_capped) == (False, True, True, True)


@pytest.mark.parametrize(
    ("terms", "needs"),
    [
        ({"unit": "token"}, False),
        ({"unit": "token", "route": "/chat"}, True),
        ({"unit": "token", "model": "gpt-4o"}, True),  # which a parameter of the path may name
        ({"unit": "nanousd", "window_s": None, "period": "month"}, True),  # whose price depends on the route
    ],
)
def test_the_route_is_found_before_the_call_only_for_limits_that_need_it(cache, terms, needs):
    cache.put([entry("k4", RPM | {"id": "4:a"} | terms)], wanted=frozenset(["k4"]))
    assert (cache.keys["k4"].needs_route, cache.keys["k4"].needs_body) == (needs, True)


def test_a_key_received_after_the_change_follows_its_entry(cache):
    change(cache, RPM | {"amount": 5})
    cache.put([entry("k4", RPM | {"id": "1:a", "amount": 6})], wanted=frozenset(["k4"]))
    assert cache.keys["k4"].plan.newer is None
    assert amounts(cache.keys["k4"]) == {"1:a": 6}
    change(cache, RPM | {"amount": 8})
    assert amounts(cache.adapt(cache.keys["k4"])) == {"1:a": 8}


def test_a_plan_without_keys_here_is_ignored(cache):
    cache.change_plan({"id": "unheard", "limits": [RPM], "providers": []}, ())
    cache.put([entry("k5", plan="unheard")], wanted=frozenset(["k5"]))
    assert amounts(cache.adapt(cache.keys["k5"])) == {}


def test_a_key_awaiting_its_look_up_also_adapts(cache):
    cache.learn(b"digest", "k1", 1)
    cache.expire(1_000)
    change(cache, RPM | {"amount": 5})
    key, _ = cache.recall(b"digest", 1)
    assert amounts(cache.adapt(key)) == {"1:a": 5, "9:k1": 100}
    assert "k1" not in cache.keys


def test_a_known_key_takes_one_kilobyte():
    count = 1_000
    names = [f"{number:020d}" for number in range(count)]
    answer = json.dumps([entry(name, RPM, plan="pro") for name in names])
    found = json.dumps([[f"{number:064x}", name] for number, name in enumerate(names)])

    def fill():
        cache = KeyCache()
        cache.put(json.loads(answer), wanted=frozenset(names))
        for digest, name in json.loads(found):
            cache.learn(bytes.fromhex(digest), name, 1)
        return cache

    assert keeps_below(count * 1_024, fill)
