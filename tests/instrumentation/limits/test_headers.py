import http_sf
import pytest

from keygauge.clock import SECOND
from keygauge.limits.concurrency import ConcurrencyLease, ConcurrencyPool
from keygauge.limits.headers import Policy
from keygauge.limits.lease import Lease
from keygauge.limits.lease_pool import LeasePool
from keygauge.limits.limit import Limit

RPM = Limit("1:a", "rpm", "request", 60, 60, None)
TPM = Limit("2:a", "tpm", "token", 9000, 60, None)
MONTHLY = Limit("3:a", "monthly", "token", 10**6, None, "month")
SCOPED = Limit("4:a", "big", "token", 50, 60, None, model="big")
AT_ONCE = Limit("5:a", "at_once", "concurrent", 5, None, None)


def fields(*limits, held=0, rest=0, alone=True, age_s=0):
    lease_pools = [LeasePool(limit) for limit in limits]
    for lease_pool in lease_pools:
        lease_pool.replicas = 1 if alone else 2
        if held:
            lease = Lease("1", held, 100 * SECOND, now_ns=0)
            lease_pool.grant(lease, 0, reset_ns=17 * SECOND)
        lease_pool.rest = rest
        lease_pool.unused.tell(rest, own=0, told_ns=1)
    policy = Policy(lease_pools)
    told = dict(policy.fields(policy.as_text, age_s * SECOND))
    assert {name.decode(): value.decode() for name, value in policy.fields(policy.as_bytes, age_s * SECOND)} == told
    return told


def test_requests_and_tokens_have_separate_fields():
    told = fields(RPM, TPM, held=7)
    assert told["ratelimit"] == '"rpm";r=7;t=17, "tpm";r=7;t=17'
    for unit, amount in (("requests", "60"), ("tokens", "9000")):
        assert told[f"x-ratelimit-limit-{unit}"] == amount
        assert told[f"x-ratelimit-remaining-{unit}"] == "7"
        assert told[f"x-ratelimit-reset-{unit}"] == "17s"


@pytest.mark.parametrize(
    ("limits", "amount"), [((MONTHLY, TPM), "9000"), ((MONTHLY,), "1000000"), ((SCOPED, TPM), "9000")]
)
def test_rates_come_before_quotas_and_scoped_limits_are_left_out(limits, amount):
    assert fields(*limits)["x-ratelimit-limit-tokens"] == amount


@pytest.mark.parametrize(("left", "binding"), [((9, 2, 5), 1), ((9, 7, 5), 2), ((4, 7, 5), 0), ((0, 0, 0), 0)])
def test_of_several_limits_the_one_that_binds_first_has_openais_fields(left, binding):
    limits = [
        RPM,
        Limit("6:a", "own", "request", 10, 60, None, whose="key"),
        Limit("7:a", "d", "request", 50, None, "day"),
    ]
    lease_pools = [LeasePool(limit) for limit in limits]
    for lease_pool, units in zip(lease_pools, left, strict=True):
        lease_pool.note_left(units, 1, 0)
        lease_pool.tell_unused(units, 0, 0)
    policy = Policy(lease_pools)
    told = dict(policy.fields(policy.as_text, 0))
    assert told["x-ratelimit-limit-requests"] == str(limits[binding].amount)
    assert told["x-ratelimit-remaining-requests"] == str(left[binding])


def test_limits_of_which_nothing_is_known_yet_are_only_named():
    lease_pools = [LeasePool(limit) for limit in (RPM, TPM, SCOPED)]
    policy = Policy(lease_pools)
    told = dict(policy.fields(policy.as_text, 0))
    assert told.pop("ratelimit-policy").count(";q=") == len(lease_pools)
    assert told == {"x-ratelimit-limit-requests": "60", "x-ratelimit-limit-tokens": "9000"}
    for number, lease_pool in enumerate(lease_pools, start=1):
        lease_pool.note_left(0, 1, 0)
        told = dict(policy.fields(policy.as_text, 0))
        assert told["ratelimit"].count(";r=0") == number
        assert ("x-ratelimit-remaining-tokens" in told) == (number > 1)


def test_input_and_output_tokens_have_separate_fields():
    told = fields(
        Limit("6:a", "itpm", "input_token", 500, 60, None), Limit("7:a", "otpm", "output_token", 90, 60, None), held=7
    )
    assert told["ratelimit-policy"] == '"itpm";q=500;qu="input-tokens";w=60, "otpm";q=90;qu="output-tokens";w=60'
    assert (told["x-ratelimit-limit-input-tokens"], told["x-ratelimit-limit-output-tokens"]) == ("500", "90")
    assert told["x-ratelimit-remaining-input-tokens"] == "7"
    assert "x-ratelimit-limit-tokens" not in told


def test_scoped_limits_have_no_openai_fields():
    assert "x-ratelimit-limit-tokens" not in fields(SCOPED)


@pytest.mark.parametrize("limit", [RPM, MONTHLY])
@pytest.mark.parametrize(("alone", "age_s"), [(True, 30), (False, 0), (False, 2)])
def test_unused_units_count_as_remaining(limit, alone, age_s):
    assert ";r=27;" in fields(limit, held=7, rest=20, alone=alone, age_s=age_s)["ratelimit"]


@pytest.mark.parametrize(("replicas", "age_s", "remaining"), [(1, 60, 47), (2, 2, 47), (2, 3, 7)])
def test_free_slots_count_as_remaining_while_the_key_service_tells_of_them(replicas, age_s, remaining):
    slots = ConcurrencyPool(Limit("1:a", "at_once", "concurrent", 50, None, None))
    slots.grant(ConcurrencyLease("1", 7, 100 * SECOND, now_ns=0), 0, reset_ns=0)
    slots.replicas = replicas
    slots.note_free(40, 0)
    slots.note_free(None, 0)  # an older key service
    assert slots.remaining(age_s * SECOND) == remaining


def test_a_lifetime_limit_has_no_reset():
    told = fields(Limit("1:a", "trial", "request", 50, None, "lifetime"), MONTHLY, held=7)
    assert told["ratelimit-policy"].startswith('"trial";q=50, ')
    assert told["ratelimit"].startswith('"trial";r=7, "')
    assert (told["x-ratelimit-limit-requests"], told["x-ratelimit-remaining-requests"]) == ("50", "7")
    assert "x-ratelimit-reset-requests" not in told


def test_concurrent_requests_have_no_window():
    assert fields(AT_ONCE)["ratelimit-policy"] == '"at_once";q=5;qu="concurrent-requests"'


@pytest.mark.parametrize(
    ("limit", "policy"),
    [
        (Limit("1:a", "budget", "nanousd", 10**15, None, "month"), {"q": 10**8, "qu": "us-cents", "w": 2_592_000}),
        (Limit("1:a", "budget", "nanousd", 25_509_999_999, None, "day"), {"q": 2550, "qu": "us-cents", "w": 86_400}),
        (Limit("1:a", "tokens", "token", 2**53 - 1, None, "month"), {"q": 10**15 - 1, "qu": "tokens", "w": 2_592_000}),
        (Limit("1:a", 'a "name" \\ é', "request", 5, 60, None), {"q": 5, "w": 60}),
        (AT_ONCE, {"q": 5, "qu": "concurrent-requests"}),
        (Limit("1:a", "hourly", "request", 5, None, "hour"), {"q": 5, "w": 3_600}),
        (Limit("1:a", "weekly", "request", 5, None, "week"), {"q": 5, "w": 604_800}),
        (Limit("1:a", "quarterly", "request", 5, None, "quarter"), {"q": 5, "w": 7_776_000}),
        (Limit("1:a", "yearly", "request", 5, None, "year"), {"q": 5, "w": 31_536_000}),
        (Limit("1:a", "later", "request", 5, None, "of_tomorrow"), {"q": 5}),
    ],
)
def test_fields_are_valid_structured_fields(limit, policy):
    told = fields(limit, RPM, held=limit.amount)
    (name, parameters), (rpm, _) = http_sf.parse(told["ratelimit-policy"].encode(), tltype="list")
    assert (parameters, rpm) == (policy, "rpm")
    (remaining_name, remaining), _ = http_sf.parse(told["ratelimit"].encode(), tltype="list")
    assert (remaining_name, remaining["r"]) == (name, policy["q"])
