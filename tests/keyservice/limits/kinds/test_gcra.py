import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keygauge.protocol import Acquisition, Return
from keygauge_keyservice.accounts import accounts, plans
from keygauge_keyservice.errors import Problem
from keygauge_keyservice.limits import leases
from keygauge_keyservice.limits.kinds import gcra
from keygauge_keyservice.limits.kinds.gcra import Gcra
from keygauge_keyservice.limits.limit_terms import parse_limit

START_US = 1_800_000_000_000_000
SECOND_US = 1_000_000

windows = st.sampled_from([1, 3, 60, 86_400])
# Steps in ten-thousandths of the window; most are small, some longer than the window.
asks = st.lists(
    st.fixed_dictionaries(
        {
            "step": st.one_of(st.integers(0, 200), st.integers(0, 13_000)),
            "want": st.integers(1, 40),
            "replicas": st.sampled_from([1, 2, 30]),
            "spent_at": st.integers(0, 100),  # percent of the lease
            "unspent": st.integers(0, 40),
            "returned_at": st.integers(0, 100),  # percent of the lease
        }
    ),
    min_size=1,
    max_size=60,
)


@given(asks=asks, amount=st.integers(0, 400), window_s=windows)
def test_no_window_contains_more_than_the_limit(asks, amount, window_s):
    state, now_us, spends, returns = Gcra(), START_US, [], []
    for ask in asks:
        now_us += ask["step"] * window_s * 100
        for due in sorted(item for item in returns if item[0] <= now_us):
            returns.remove(due)
            state = state.refund(due[1], due[2], now_us=due[0], amount=amount, window_s=window_s)
        given = gcra.grant(
            state, now_us=now_us, amount=amount, window_s=window_s, want=ask["want"], replicas=ask["replicas"]
        )
        state = given.state
        assert 0 <= given.units <= min(ask["want"], gcra.burst(amount))
        if given.units:
            unspent = min(ask["unspent"], given.units)
            life_us = given.ends_us - 1 - given.start_us
            spends.append((given.start_us + life_us * ask["spent_at"] // 100, given.units - unspent))
            returns.append((given.start_us + life_us * ask["returned_at"] // 100, unspent, state.head))
    for start_us, _ in spends:
        end_us = start_us + window_s * SECOND_US
        assert sum(units for moment, units in spends if start_us <= moment <= end_us) <= amount


@pytest.mark.parametrize(("amount", "window_s"), [(600, 60), (10, 60), (3000, 10), (1, 1)])
def test_units_flow_at_a_steady_pace(amount, window_s):
    state, now_us, units = Gcra(), START_US, 0
    first = gcra.grant(state, now_us=now_us, amount=amount, window_s=window_s, want=amount)
    assert first.units == max(1, amount // 40)
    while now_us < START_US + 20 * window_s * SECOND_US:
        given = gcra.grant(state, now_us=now_us, amount=amount, window_s=window_s, want=amount)
        state, units = given.state, units + given.units
        now_us += max(1000, 200 * window_s)
    assert units / (20 * amount) >= (0.94 if window_s >= 10 else 0.79)


@given(step_us=st.integers(0, 10**8), amount=st.integers(1, 500), window_s=windows)
def test_a_denial_states_when_a_unit_comes_free(step_us, amount, window_s):
    first = gcra.grant(Gcra(), now_us=START_US, amount=amount, window_s=window_s, want=amount)
    options = {"amount": amount, "window_s": window_s, "want": 1}
    second = gcra.grant(first.state, now_us=START_US + step_us, **options)
    if second.units == 0:
        later = START_US + step_us + second.reset_us - gcra.PATIENCE_US
        assert gcra.grant(first.state, now_us=later - 1, **options).units == 0
        assert gcra.grant(first.state, now_us=later, **options).units == 1


def test_a_smooth_limit_is_stored_in_the_database(connection):
    limit = parse_limit("rpm=4000:request:60s,smooth")
    (made,) = plans.create(connection, plan_id="even", name="Even", limits=[limit], actor="test").limits
    account = accounts.create(connection, name="Acme", plan_id="even", actor="test")
    state_id = f"{made.id}:{account.id}"

    def exchange(*acquisitions, returns=()):
        with connection.transaction():
            asked = leases.LeaseRequest(service=None, replica="r", acquisitions=acquisitions, returns=list(returns))
            (answer,) = leases.exchange(connection, [asked], alive=1)
        return [(item.lease_id, item.grant.units) for item in answer.granted]

    started = time.monotonic()
    ((lease, units),) = exchange(Acquisition(state_id, 1000, 1))
    assert units == 100
    ((_, ahead),) = exchange(Acquisition(state_id, 1000, 1))
    assert ahead <= 1 + (time.monotonic() - started) * 4000 / 60
    exchange(returns=[Return(str(lease), 60)])
    ((_, more),) = exchange(Acquisition(state_id, 1000, 1))
    most = 61 + (time.monotonic() - started) * 4000 / 60
    assert 60 <= ahead + more <= most  # a unit granted ahead of time is one of those that came back


@pytest.mark.parametrize(
    "text", ["monthly=9:request:month,smooth", "parallel=3:concurrent,smooth", "rpm=9:request:60s,x"]
)
def test_only_rate_limits_can_be_smooth(text):
    with pytest.raises(Problem):
        parse_limit(text)
