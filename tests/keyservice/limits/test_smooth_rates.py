import time

import pytest

from keygauge_keyservice.accounts import accounts, plans
from keygauge_keyservice.limits import smooth_rates

DAY_S = 86_400


def test_other_limits_have_no_interval():
    assert {smooth_rates.intervals(*terms) for terms in ((None, 400, 800), (DAY_S, 0, 800), (DAY_S, 400, 0))} == {
        (1, 1)
    }
    old_us, new_us = smooth_rates.intervals(DAY_S, 400, 800)
    assert 1.9 < old_us / new_us < 2.1


@pytest.mark.parametrize("amount", [100, 1600])
def test_a_bucket_takes_longer_to_empty_at_a_slower_rate(connection, amount):
    even = plans.Limit(name="even", unit="request", amount=400, window_s=DAY_S, smooth=True)
    plans.create(connection, plan_id="p", name="P", limits=[even], actor="test")
    (limit,) = plans.require(connection, "p").limits
    made = [accounts.create(connection, name=name, plan_id="p", actor="test").id for name in ("full", "empty")]
    now_us = time.time_ns() // 1000
    before = {f"{limit.id}:{made[0]}": now_us + 10**9, f"{limit.id}:{made[1]}": now_us - 10**9}
    for (name, head), account in zip(before.items(), made, strict=True):
        connection.execute("INSERT INTO limit_state (id, account_id, head) VALUES (%s, %s, %s)", (name, account, head))
    connection.execute(
        "INSERT INTO lease (state_id, replica, heartbeat, bucket, units, ends_at) "
        "SELECT id, 'r', 1, head, 1, now() FROM limit_state"
    )
    smooth_rates.change(connection, limit.id, DAY_S, 400, amount)
    later_us = time.time_ns() // 1000
    old_us, new_us = smooth_rates.intervals(DAY_S, 400, amount)
    after = {row["id"]: row["head"] for row in connection.execute("SELECT id, head FROM limit_state")}
    full, empty = before
    assert after[empty] == before[empty]
    at_once, at_last = (at + (before[full] - at) * new_us / old_us for at in (now_us, later_us))
    assert min(at_once, at_last) - 10**6 <= after[full] <= max(at_once, at_last) + 10**6
    rows = connection.execute("SELECT state_id, bucket FROM lease")
    assert {row["state_id"]: row["bucket"] for row in rows} == pytest.approx(after, abs=10**6)
