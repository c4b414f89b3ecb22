from hypothesis import given, settings
from hypothesis import strategies as st

from keygauge_keyservice import ring
from keygauge_keyservice.counter import Counter

NEW = Counter(0, (0,))
START_US = 1_800_000_000_000_000

windows = st.sampled_from([1, 3, 60, 3600, 86_400])
# When to ask: so many buckets later, at one of the moments where rules change; many just about a window later.
steps = st.tuples(
    st.sampled_from([0, 0, 1, 2, 19, 20, 20, 21, 22]), st.sampled_from(["start", "middle", "late", "end"])
)
asks = st.lists(
    st.tuples(
        steps,
        st.sampled_from([1_000, 1_000, 1, 7]),  # units wanted
        st.sampled_from([1, 1, 1, 3]),  # replicas
        st.sampled_from([0, 0, 0, 5, 40]),  # units given back at once
    ),
    min_size=1,
    max_size=40,
)


def later(now_us, step, window_s):
    """Return the moment of a step, never before now."""
    buckets, moment = step
    width = ring.width_us(window_s)
    past = {"start": 0, "middle": width // 2, "late": width - ring.late_us(window_s), "end": width - 1}[moment]
    return max(now_us, (now_us // width + buckets) * width + past)


def spend(asks, *, amount, window_s):
    """Ask as a number of replicas would; return (from, to, units) of what may be spent, both ends included."""
    counter, now_us, spends = NEW, START_US + 12_345, []
    for step, want, replicas, unspent in asks:
        now_us = later(now_us, step, window_s)
        given = ring.grant(counter, now_us=now_us, amount=amount, window_s=window_s, want=want, replicas=replicas)
        assert 0 <= given.units <= want
        counter = given.counter.refund(min(unspent, given.units), head=given.counter.head)
        if given.units > unspent:
            spends.append((now_us, given.ends_us - 1, given.units - unspent))
    return spends


@settings(max_examples=300)
@given(asks=asks, amount=st.integers(0, 60), window_s=windows)
def test_no_real_window_sees_more_than_the_limit(asks, amount, window_s):
    spends = spend(asks, amount=amount, window_s=window_s)
    for _, start_us, _ in spends:  # a window gains most when it starts at the end of some spend
        end_us = start_us + window_s * 1_000_000
        touched = sum(units for first, last, units in spends if first <= end_us and last >= start_us)
        assert touched <= amount


@given(asks=asks, amount=st.integers(1, 60), window_s=windows)
def test_a_refusal_says_when_a_unit_comes_free(asks, amount, window_s):
    counter, now_us = NEW, START_US
    for step, want, _, _ in asks:
        now_us = later(now_us, step, window_s)
        given = ring.grant(counter, now_us=now_us, amount=amount, window_s=window_s, want=want)
        counter = given.counter
        if given.units == 0:
            assert 0 < given.reset_us <= window_s * 1_100_000
            free_us = now_us + given.reset_us
            sooner = ring.grant(counter, now_us=free_us - 1, amount=amount, window_s=window_s, want=1)
            assert sooner.units == 0
            assert ring.grant(counter, now_us=free_us, amount=amount, window_s=window_s, want=1).units == 1


@given(step=st.integers(-(10**9), 10**9), amount=st.integers(1, 50))
def test_a_clock_set_back_never_steps_a_bucket_back(step, amount):
    first = ring.grant(NEW, now_us=START_US, amount=amount, window_s=60, want=amount)
    second = ring.grant(first.counter, now_us=START_US + step, amount=amount, window_s=60, want=amount)
    assert second.counter.head >= first.counter.head
    assert second.ends_us <= START_US + step + ring.width_us(60) + ring.late_us(60)
    if step < 60_000_000:
        assert second.units == 0


def test_a_lone_replica_spends_the_last_unit():
    given = ring.grant(NEW, now_us=START_US, amount=7, window_s=60, want=100)
    assert (given.units, given.remaining) == (7, 0)


def test_replicas_that_share_get_single_units_near_the_end():
    counter, grants = NEW, []
    for _ in range(40):
        given = ring.grant(counter, now_us=START_US, amount=40, window_s=60, want=30, replicas=4)
        counter = given.counter
        grants.append(given.units)
    assert grants[0] == 5
    assert sum(grants) == 40
    assert grants[-1] == 0


def test_a_limit_that_was_lowered_below_its_use_gives_nothing():
    first = ring.grant(NEW, now_us=START_US, amount=50, window_s=60, want=50)
    second = ring.grant(first.counter, now_us=START_US, amount=10, window_s=60, want=1)
    assert (second.units, second.remaining) == (0, 0)


def test_a_limit_of_zero_never_gives():
    assert ring.grant(NEW, now_us=START_US, amount=0, window_s=60, want=1).reset_us > 0


def test_units_come_back_into_their_own_bucket():
    counter = ring.grant(NEW, now_us=START_US, amount=10, window_s=60, want=10).counter
    later = ring.advance(counter, now_us=START_US + ring.width_us(60), window_s=60)
    assert later.refund(4, head=counter.head).cells[:2] == (0, 6)
    assert later.refund(4, head=later.head) == later
    assert later.refund(4, head=later.head + 1) == later
    assert later.refund(4, head=later.head - 100) == later


@given(now_us=st.integers(START_US, START_US + 7_200_000_000), window_s=windows)
def test_no_lease_ends_as_it_arrives(now_us, window_s):
    given = ring.grant(NEW, now_us=now_us, amount=1, window_s=window_s, want=1)
    left_us = given.ends_us - now_us
    assert ring.late_us(window_s) < left_us <= ring.width_us(window_s) + ring.late_us(window_s)


def test_a_refund_never_makes_units():
    counter = ring.grant(NEW, now_us=START_US, amount=10, window_s=60, want=3).counter
    assert counter.refund(9, head=counter.head).used == 0
