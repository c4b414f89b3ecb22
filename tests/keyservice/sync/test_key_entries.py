import time

import pytest

from keygauge.key import digest, generate
from keygauge.protocol import LookUp
from keygauge_keyservice.accounts import accounts, plans
from keygauge_keyservice.keys import key_limits, keys, rotation
from keygauge_keyservice.secret import Peppers
from keygauge_keyservice.sync import key_entries

PEPPERS = Peppers.parse("1:" + "33" * 32)
RPM = plans.Limit(name="rpm", unit="request", amount=60, window_s=3600)
BY_KEY = plans.Limit(name="per_key", unit="request", amount=5, period="day", subject="key")


@pytest.fixture
def account(connection):
    plans.create(connection, plan_id="free", name="Free", limits=[RPM, BY_KEY], actor="test")
    return accounts.create(connection, name="Acme", plan_id="free", actor="test")


@pytest.fixture
def key(connection, account):
    return keys.create(connection, peppers=PEPPERS, account_id=account.id, name="prod", actor="test")


@pytest.fixture
def look_up(connection):
    def look_up(key_id, token, peppers=PEPPERS):
        return key_entries.look_up(connection, [LookUp(key_id, digest(token).hex())], peppers)

    return look_up


def test_unknown_keys_and_wrong_secrets_are_both_not_found(look_up, key):
    made, token = key
    assert [found.key for found in look_up(made.id, token)] == [made.id]
    assert look_up(made.id, generate("live", made.id)) == look_up("unknown", generate("live")) == []


def test_neither_a_key_nor_a_secret_expires_early(key, connection):
    expires_at = 4_000_000_000
    for table in ("key", "key_secret"):
        connection.execute(f"UPDATE {table} SET expires_at = to_timestamp(%s)", (expires_at - 0.5,))
    (entry,) = key_entries.load(connection, [key[0].id]).values()
    assert entry.expires_at == entry.secrets[0].expires_at == expires_at


def test_an_expired_secret_is_not_found(look_up, key, connection):
    connection.execute("UPDATE key_secret SET expires_at = now() - interval '1 second'")
    assert look_up(key[0].id, key[1]) == []


def test_earlier_secrets_are_told_apart_from_wrong_ones(connection, key):
    made, first = key
    tokens = [first]
    for number in range(21):
        rotated = rotation.rotate(connection, made.id, peppers=PEPPERS, rotation_id=str(number), actor="test")
        tokens.append(rotated.token)

    def find(token, peppers=PEPPERS, key_id=made.id):
        return key_entries.find_replaced(connection, [LookUp(key_id, digest(token).hex())], peppers)

    found = [find(token) for token in tokens]
    assert [len(one) for one in found] == [0, *[1] * 20, 0]  # the latest ones, and not the valid one
    assert 0 <= time.time() - found[-2][0].ended_at < 600
    assert found[-2][0].digest == digest(tokens[-2]).hex()
    assert find(generate("live", made.id)) == find(tokens[-2], key_id="other") == []
    assert find(tokens[-2], Peppers({2: b"x" * 32})) == []
    keys.delete(connection, made.id, actor="test")
    assert find(tokens[-2]) == []


def test_a_hash_with_another_pepper_is_found_but_not_with_a_lost_one(look_up, key, caplog):
    newer = Peppers({**PEPPERS.by_version, 2: b"x" * 32})
    assert len(look_up(key[0].id, key[1], newer)) == 1
    assert look_up(key[0].id, key[1], Peppers({2: b"x" * 32})) == []
    assert f"key {key[0].id} cannot be checked" in caplog.text


def test_a_suspended_account_suspends_its_active_keys(connection, account, key):
    disabled, _ = keys.create(connection, peppers=PEPPERS, account_id=account.id, name="old", actor="test")
    keys.set_status(connection, disabled.id, "disabled", actor="test")
    accounts.set_status(connection, account.id, "suspended", actor="test")
    states = {
        id_: entry.status for id_, entry in key_entries.load(connection, [key[0].id, disabled.id, "none"]).items()
    }
    assert states == {key[0].id: "suspended", disabled.id: "disabled"}


def test_limits_are_those_of_the_account_or_of_the_key(connection, account, key):
    key_limits.replace(connection, key[0].id, [BY_KEY], actor="test")
    entry = key_entries.load(connection, [key[0].id])[key[0].id]
    owners = [(limit.name, limit.id.partition(":")[2], limit.whose) for limit in entry.limits]
    assert owners == [
        ("rpm", account.id, "account"),
        ("per_key", key[0].id, "plan"),
        ("per_key", key[0].id, "key"),
    ]
    plan = key_entries.load_plans(connection, ["free", "none"])["free"]
    assert [limit.id for limit in plan.limits] == [limit.id.partition(":")[0] for limit in entry.limits[:2]]
