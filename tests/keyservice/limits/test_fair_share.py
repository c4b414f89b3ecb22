from hypothesis import given
from hypothesis import strategies as st

from keygauge_keyservice.limits.fair_share import clamp

counts = st.integers(0, 10**12)


@given(want=counts, remaining=counts, replicas=st.integers(0, 1000))
def test_a_lease_never_exceeds_what_is_wanted_or_left(want, remaining, replicas):
    assert 0 <= clamp(want, remaining=remaining, replicas=replicas) <= min(want, remaining)


@given(want=st.integers(1, 10**12), remaining=st.integers(1, 10**12), replicas=st.integers(0, 1000))
def test_what_is_left_can_always_be_spent(want, remaining, replicas):
    assert clamp(want, remaining=remaining, replicas=replicas) >= 1


@given(remaining=st.integers(4, 10**6), replicas=st.integers(2, 100))
def test_no_replica_takes_more_than_half_of_its_part(remaining, replicas):
    assert clamp(10**9, remaining=remaining, replicas=replicas) <= max(1, remaining / (2 * replicas))


def test_a_single_replica_gets_all_it_wants():
    assert clamp(100, remaining=100, replicas=1) == 100
