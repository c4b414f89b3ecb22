from hypothesis import given
from hypothesis import strategies as st

from keygauge.protocol import ClockReading
from keygauge_keyservice.limits.kinds import sliding_window
from keygauge_keyservice.limits.kinds.sliding_window import SlidingWindow

NEW = SlidingWindow()
START_US = 1_800_000_000_000_000
SECOND_US = 1_000_000

windows = st.sampled_from([1, 3, 60, 3600, 86_400])
# Steps in thousandths of the window; most are small, some longer than the window.
asks = st.lists(
    st.fixed_dictionaries(
        {
            "step": st.one_of(st.integers(0, 20), st.integers(0, 1300)),
            "want": st.integers(1, 40),
            "replicas": st.sampled_from([1, 2, 3, 30]),
            "waiting": st.integers(0, 40),
            "unspent": st.integers(0, 40),
            "spent_at": st.integers(0, 100),  # percent of the lease
            "reports": st.booleans(),
        }
    ),
    min_size=1,
    max_size=60,
)


def spend(asks, *, amount, window_s):
    """Simulate requests of several replicas; return (time, units) of what was spent."""
    log, now_us, spends = NEW, START_US + 12_345, []
    for ask in asks:
        now_us += ask["step"] * window_s * 1_000
        given = sliding_window.grant(
            log,
            now_us=now_us,
            amount=amount,
            window_s=window_s,
            want=ask["want"],
            replicas=ask["replicas"],
            waiting=ask["waiting"],
        )
        assert 0 <= given.units <= ask["want"]
        log = given.state
        unspent = min(ask["unspent"], given.units)
        if given.units:
            log = log.refund(unspent, given.ends_us, window_s=window_s)
            moment = given.start_us + (given.ends_us - 1 - given.start_us) * ask["spent_at"] // 100
            assert given.start_us <= moment < given.ends_us
            spends.append((moment, given.units - unspent))
            if ask["reports"]:
                log = log.tighten(given.units - unspent, given.ends_us, spent_us=moment + 1, window_s=window_s)
    return spends


@given(asks=asks, amount=st.integers(0, 120), window_s=windows)
def test_no_window_contains_more_than_the_limit(asks, amount, window_s):
    spends = spend(asks, amount=amount, window_s=window_s)
    for start_us, _ in spends:  # the fullest window starts at a spend
        end_us = start_us + window_s * SECOND_US
        assert sum(units for moment, units in spends if start_us <= moment <= end_us) <= amount


@given(asks=asks, amount=st.integers(1, 60), window_s=windows)
def test_a_denial_states_when_a_unit_comes_free(asks, amount, window_s):
    log, now_us = NEW, START_US
    for ask in asks:
        now_us += ask["step"] * window_s * 1_000
        given = sliding_window.grant(log, now_us=now_us, amount=amount, window_s=window_s, want=ask["want"], waiting=40)
        log = given.state
        if given.units == 0:
            assert sliding_window.PATIENCE_US < given.reset_us <= window_s * 2 * SECOND_US
            later = now_us + given.reset_us - sliding_window.PATIENCE_US
            options = {"amount": amount, "window_s": window_s, "want": 1, "waiting": 1}
            assert sliding_window.grant(log, now_us=later - 1, **options).units == 0
            assert sliding_window.grant(log, now_us=later, **options).units == 1


@given(step=st.integers(-(10**9), 10**9), amount=st.integers(1, 50))
def test_a_clock_set_back_grants_nothing_twice(step, amount):
    first = sliding_window.grant(NEW, now_us=START_US, amount=amount, window_s=60, want=amount)
    second = sliding_window.grant(first.state, now_us=START_US + step, amount=amount, window_s=60, want=amount)
    if step < 59_000_000:
        assert second.units == 0


@given(asks=asks)
def test_a_log_stays_short(asks):
    log, now_us = NEW, START_US
    for ask in asks * 10:
        now_us += ask["step"] * 1_000
        log = sliding_window.grant(log, now_us=now_us, amount=10**6, window_s=60, want=2, waiting=ask["waiting"]).state
        assert len(log.ends) <= 65


def test_a_single_replica_spends_the_last_unit():
    given = sliding_window.grant(NEW, now_us=START_US, amount=70, window_s=60, want=100)
    assert (given.units, given.remaining) == (70, 0)


def test_sharing_replicas_get_single_units_near_the_end():
    log, grants = NEW, []
    for _ in range(40):
        given = sliding_window.grant(log, now_us=START_US, amount=40, window_s=60, want=30, replicas=4)
        log = given.state
        grants.append(given.units)
    assert grants[0] == 5
    assert sum(grants) == 40
    assert grants[-1] == 0


def test_a_lease_lasts_at_least_a_quarter_of_a_grid_interval():
    for offset_us in range(0, 3_000_000, 50_000):
        given = sliding_window.grant(NEW, now_us=START_US + offset_us, amount=100, window_s=60, want=100)
        assert 750_000 <= given.ends_us - given.start_us <= 3_750_000
        assert given.ends_us % 3_000_000 == 0


def test_a_limit_lowered_below_its_usage_grants_nothing():
    first = sliding_window.grant(NEW, now_us=START_US, amount=50, window_s=60, want=50)
    second = sliding_window.grant(first.state, now_us=START_US, amount=10, window_s=60, want=1)
    assert (second.units, second.remaining) == (0, 0)


def test_a_grant_tells_when_as_many_units_as_are_lacking_come_free():
    log = NEW.add(4, START_US).add(3, START_US + SECOND_US).add(3, START_US + 2 * SECOND_US)
    terms = {"now_us": START_US + 3 * SECOND_US, "amount": 10, "window_s": 60}
    denied = sliding_window.grant(log, want=5, waiting=5, **terms)
    assert denied.units == 0
    assert [denied.retry_us(units) // SECOND_US for units in (1, 4, 5, 7, 8)] == [57, 57, 58, 58, 59]
    part = sliding_window.grant(log, want=9, waiting=9, **terms | {"amount": 12})
    assert (part.units, part.reset_us) == (2, part.retry_us(1))
    assert [part.retry_us(units) // SECOND_US for units in (1, 4, 5, 7)] == [57, 57, 58, 58]


def test_a_limit_of_zero_grants_nothing():
    assert sliding_window.grant(NEW, now_us=START_US, amount=0, window_s=60, want=1).reset_us > 0


def test_a_refund_never_creates_units():
    given = sliding_window.grant(NEW, now_us=START_US, amount=10, window_s=60, want=3)
    assert given.state.refund(9, given.ends_us, window_s=60).used == 0
    assert given.state.refund(9, given.ends_us + 60_000_000, window_s=60).used == 3


def test_a_client_that_calls_once_per_window_is_never_refused():
    """Each call waits until the previous one is a window old, counted by the client from the answer."""
    log, now_us = NEW, START_US
    for call in range(200):
        now_us += call * 7919 % 40_000  # the delay of the request varies
        given = sliding_window.grant(log, now_us=now_us, amount=1, window_s=1, want=1, replicas=8)
        assert given.units == 1
        spent_us = given.start_us + call * 104_729 % 30_000  # … and so does that of the answer
        log = given.state.tighten(1, given.ends_us, spent_us=spent_us + 2_000, window_s=1)
        now_us = spent_us + SECOND_US


def test_units_of_a_small_limit_are_for_immediate_use():
    assert sliding_window.grant(NEW, now_us=START_US, amount=30, window_s=60, want=1, replicas=8).is_exact
    assert not sliding_window.grant(NEW, now_us=START_US, amount=33, window_s=60, want=2, replicas=8).is_exact
    assert sliding_window.grant(NEW, now_us=START_US, amount=33, window_s=60, want=1, waiting=1).is_exact


def stamped(*, amount=1, clock="a host"):
    """Return the log of one unit, spent before 5,001 us of a clock and reported 40 ms later."""
    given = sliding_window.grant(NEW, now_us=START_US, amount=amount, window_s=1, want=1)
    reading = ClockReading(clock, 5_001)
    return given.state.tighten(1, given.ends_us, spent_us=START_US + 40_002, window_s=1, reading=reading)


def test_a_replica_with_the_same_clock_gets_the_start_by_it():
    asked = {"now_us": START_US + 990_000, "amount": 1, "window_s": 1, "want": 1}
    given = sliding_window.grant(stamped(), **asked, reading=ClockReading("a host", 935_001))
    assert (given.units, given.wait_us) == (1, 5_001 + SECOND_US - 935_001)
    assert given.start_us == asked["now_us"]  # nothing else to wait for
    given = sliding_window.grant(stamped(), **asked, reading=ClockReading("another", 935_001))
    assert (given.units, given.wait_us, given.start_us) == (1, 0, START_US + 40_002 + SECOND_US)
    assert sliding_window.grant(stamped(), **asked).start_us == START_US + 40_002 + SECOND_US


def test_a_clock_that_cannot_be_the_same_is_ignored():
    given = sliding_window.grant(
        stamped(), now_us=START_US + 990_000, amount=1, window_s=1, want=1, reading=ClockReading("a host", 95_000_000)
    )
    assert (given.wait_us, given.start_us) == (0, START_US + 40_002 + SECOND_US)


def test_only_readings_of_one_clock_are_kept():
    log = stamped(amount=2)
    assert (log.clock, log.stamps) == ("a host", (5_001,))
    given = sliding_window.grant(log, now_us=START_US + 50_000, amount=2, window_s=1, want=1)
    later = given.state.tighten(
        1, given.ends_us, spent_us=START_US + 60_000, window_s=1, reading=ClockReading("another", 77)
    )
    assert (later.clock, later.stamps) == ("another", (0, 77))
    assert later.since(START_US + 60_000) == NEW
    assert later.refund(1, START_US + 60_000, window_s=1) == SlidingWindow((START_US + 40_002,), (1,))
