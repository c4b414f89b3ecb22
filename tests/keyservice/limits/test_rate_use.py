import pytest

from keygauge_keyservice.accounts import accounts, plans
from keygauge_keyservice.keys import keys
from keygauge_keyservice.limits.rate_use import Use, find_rate_use
from keygauge_keyservice.secret import Peppers

EVEN = plans.Limit(name="even", unit="request", amount=9_000, window_s=60, smooth=True)
EACH = plans.Limit(name="each", unit="request", amount=30, window_s=60, smooth=True, subject="key")
WINDOW = plans.Limit(name="window", unit="token", amount=1_000, window_s=60)


@pytest.fixture
def key(connection):
    plans.create(connection, plan_id="even", name="Even", limits=[EVEN, EACH, WINDOW], actor="test")
    account = accounts.create(connection, name="Acme", plan_id="even", actor="test")
    peppers = Peppers.parse("1:" + "33" * 32)
    return keys.create(connection, peppers=peppers, account_id=account.id, name="prod", actor="test")[0]


@pytest.fixture
def find(connection, key):
    """Return a function that finds the use of the rates of an account by name; of a key if its id is given."""
    names = {limit.id: limit.name for limit in plans.require(connection, "even").limits}

    def find(account_id, **scope):
        return {
            names[number]: use for number, use in find_rate_use(connection, account_id, list(names), **scope).items()
        }

    return find


def fill(connection, account_id, owner, name):
    connection.execute(
        "INSERT INTO limit_state (id, account_id, head) SELECT id || ':' || %s, %s, "
        "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint + 3600000000 FROM plan_limit WHERE name = %s",
        (owner, account_id, name),
    )


def test_unused_smooth_rates_have_as_much_left_as_may_be_used_at_once(connection, key, find):
    assert find(key.account_id) == {"each": Use(0, 1), "even": Use(0, 225), "window": Use(0, 1_000)}
    assert find_rate_use(connection, key.account_id, []) == {}


def test_used_units_count_until_they_have_flowed_out(connection, key, find):
    fill(connection, key.account_id, key.account_id, "even")
    even = find(key.account_id)["even"]
    assert even.used > 225
    assert even.remaining == 0


def test_a_keys_use_is_only_found_for_its_own_account(connection, key, find):
    fill(connection, key.account_id, key.id, "each")
    other = accounts.create(connection, name="Beta", plan_id="even", actor="test")
    assert find(key.account_id, key_id=key.id)["each"].used > 0
    assert find(other.id, key_id=key.id)["each"].used == 0


@pytest.mark.parametrize(
    ("ends", "expected"),
    [("10 seconds", Use(300, 700)), ("-1 second", Use(300, 700)), ("-5 seconds", Use(500, 500))],
)
def test_units_of_a_window_count_unless_a_replica_may_return_them(connection, key, find, ends, expected):
    state = connection.execute(
        "INSERT INTO limit_state (id, account_id, cells, ends) SELECT id || ':' || %(account)s, %(account)s, "
        "'{500}', ARRAY[(extract(epoch FROM clock_timestamp()) * 1000000)::bigint] FROM plan_limit "
        "WHERE name = 'window' RETURNING id",
        {"account": key.account_id},
    ).fetchone()
    connection.execute(
        "INSERT INTO lease (state_id, replica, heartbeat, bucket, units, spent, ends_at) "
        "VALUES (%s, 'r1', 1, 1, 250, 50, clock_timestamp() + %s::interval)",
        (state["id"], ends),
    )
    assert find(key.account_id)["window"] == expected
