"""The costs of kinds add up to the cost of calls, packed or not, for one call or many."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from keygauge.kinds import CHARGED
from keygauge_keyservice.pricing.cost import Cost
from keygauge_keyservice.pricing.kind_costs import pack, unpack

COSTS = st.lists(st.sampled_from([0, 1, 10**9]) | st.integers(0, 10**18), max_size=len(CHARGED))


@given(st.lists(COSTS, max_size=8))
def test_packed_costs_can_be_added(calls):
    priced = [Cost.of_kinds(costs, "test") for costs in calls]
    expected = Counter()
    for costs in calls:
        expected.update(dict(zip(CHARGED, costs, strict=False)))
    found = unpack(sum(cost.nanousd for cost in priced), sum(cost.kind_costs for cost in priced))
    assert found == dict(+expected)
    assert list(found) == [kind for kind in CHARGED if kind in found]
    assert sum(found.values()) == sum(map(sum, calls))


def test_the_packed_format_is_stable():
    assert pack([5, 1, 2, 3, 4, 6]) == 6 * 10**80 + 4 * 10**60 + 3 * 10**40 + 2 * 10**20 + 1
    assert CHARGED[:8] == (
        *("input", "output", "cache_read", "reasoning", "cache_write", "request"),
        *("input_audio", "input_image"),
    )
