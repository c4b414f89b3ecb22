from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keygauge_keyservice.accounts import plans
from keygauge_keyservice.limits import definitions
from keygauge_keyservice.limits.definitions import Limit, Owner, terms

RPM = Limit(name="rpm", unit="request", amount=60, window_s=60)
DAILY = Limit(name="daily", unit="token", amount=5, period="day")


@pytest.fixture
def plan(connection):
    """Return `plan(*limits)`, which replaces a plan's limits and returns their ids by name."""
    plans.create(connection, plan_id="p", name="P", limits=[], actor="test")

    def plan(*limits):
        old = definitions.of_plans(connection, ["p"]).get("p", [])
        definitions.replace(connection, Owner(plan_id="p"), old, limits)
        now = definitions.of_plans(connection, ["p"]).get("p", [])
        assert {replace(limit, id=None) for limit in now} == set(limits)
        return {limit.name: limit.id for limit in now}

    return plan


def test_a_limit_that_keeps_its_measure_keeps_its_usage(plan):
    before = plan(RPM, DAILY)
    assert plan(replace(RPM, amount=7, dry_run=True), replace(DAILY, name="tokens")) == {
        "rpm": before["rpm"],
        "tokens": before["daily"],
    }
    assert plan(replace(RPM, window_s=30))["rpm"] != before["rpm"]
    assert plan() == {}


def test_limits_may_exchange_names(plan):
    before = plan(RPM, DAILY)
    swapped = plan(replace(RPM, name="daily"), replace(DAILY, name="rpm"))
    assert swapped == {"daily": before["rpm"], "rpm": before["daily"]}


MEASURES = st.builds(
    Limit,
    name=st.sampled_from("abcd"),
    unit=st.sampled_from(["request", "token"]),
    amount=st.integers(0, 9),
    window_s=st.sampled_from([30, 60]),
)
LISTS = st.lists(MEASURES, max_size=4, unique_by=lambda limit: limit.name)


@given(LISTS, LISTS)
def test_as_many_limits_as_possible_are_paired_by_measure(old, new):
    kept = definitions._kept(old, new)
    assert all(before.measure == after.measure for before, after in kept)
    assert len({id(before) for before, _ in kept}) == len({id(after) for _, after in kept}) == len(kept)
    for measure in {limit.measure for limit in new}:
        follows = sum(after.measure == measure for _, after in kept)
        assert follows == min(sum(one.measure == measure for one in side) for side in (old, new))


def test_the_audit_log_has_the_terms_that_are_set():
    assert terms(replace(RPM, id=5, by_operator=True)) == terms(RPM)
    assert terms(RPM)["window_s"] == 60
    assert "period" not in terms(RPM)
