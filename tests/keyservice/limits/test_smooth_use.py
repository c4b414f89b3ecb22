import pytest

from keygauge_keyservice.accounts import accounts, plans
from keygauge_keyservice.keys import keys
from keygauge_keyservice.limits.smooth_use import SmoothUse, find_smooth_use
from keygauge_keyservice.secret import Peppers

EVEN = plans.Limit(name="even", unit="request", amount=9_000, window_s=60, smooth=True)
EACH = plans.Limit(name="each", unit="request", amount=30, window_s=60, smooth=True, subject="key")


@pytest.fixture
def key(connection):
    plans.create(connection, plan_id="even", name="Even", limits=[EVEN, EACH], actor="test")
    account = accounts.create(connection, name="Acme", plan_id="even", actor="test")
    peppers = Peppers.parse("1:" + "33" * 32)
    return keys.create(connection, peppers=peppers, account_id=account.id, name="prod", actor="test")[0]


def test_unused_smooth_rates_have_as_much_left_as_may_be_used_at_once(connection, key):
    found = sorted(find_smooth_use(connection, key.id), key=lambda use: use.name)
    assert found == [SmoothUse("each", "key", 0, 1), SmoothUse("even", "account", 0, 225)]


def test_used_units_count_until_they_have_flowed_out(connection, key):
    connection.execute(
        "INSERT INTO limit_state (id, account_id, head) SELECT id || ':' || %s, %s, "
        "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint + 3600000000 FROM plan_limit WHERE name = 'even'",
        (key.account_id, key.account_id),
    )
    (even,) = [use for use in find_smooth_use(connection, key.id) if use.name == "even"]
    assert even.used > 225
    assert even.remaining == 0
