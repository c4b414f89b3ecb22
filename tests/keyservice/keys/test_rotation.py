from datetime import UTC, datetime, timedelta

import pytest

from keygauge.key import digest, parse
from keygauge.protocol import LookUp
from keygauge_keyservice.accounts import accounts, plans
from keygauge_keyservice.errors import Problem
from keygauge_keyservice.keys import keys, rotation
from keygauge_keyservice.secret import Peppers
from keygauge_keyservice.sync import key_entries

PEPPERS = Peppers.parse("1:" + "33" * 32)
DAY_S = 86_400


@pytest.fixture
def key(connection):
    plans.create(connection, plan_id="free", name="Free", limits=[], actor="test")
    account = accounts.create(connection, name="Acme", plan_id="free", actor="test")
    return keys.create(connection, peppers=PEPPERS, account_id=account.id, name="prod", actor="test")


@pytest.fixture
def rotate(connection, key):
    def rotate(rotation_id, grace_s=0):
        return rotation.rotate(
            connection, key[0].id, peppers=PEPPERS, rotation_id=rotation_id, grace_s=grace_s, actor="ada"
        )

    return rotate


def is_known(connection, token):
    return bool(key_entries.look_up(connection, [LookUp(parse(token), digest(token).hex())], PEPPERS))


def test_the_new_secret_belongs_to_the_same_key(connection, key, rotate):
    done = rotate("r1")
    assert parse(done.token) == key[0].id
    assert is_known(connection, done.token)
    assert not is_known(connection, key[1])
    assert done.key.rotated_at > key[0].rotated_at


def test_the_old_secret_is_valid_during_the_grace_period(connection, key, rotate):
    rotate("r1", grace_s=DAY_S)
    assert is_known(connection, key[1])
    old, new = rotation.list_secrets(connection, key[0].id)
    assert new.expires_at is None
    assert timedelta(hours=23) < old.expires_at - datetime.now(UTC) <= timedelta(days=1)


def test_a_later_rotation_never_extends_a_grace_period(connection, key, rotate):
    rotate("r1", grace_s=60)
    (first, _) = rotation.list_secrets(connection, key[0].id)
    rotate("r2", grace_s=DAY_S)
    again, second, _ = rotation.list_secrets(connection, key[0].id)
    assert again == first
    assert second.expires_at > first.expires_at


def test_repeating_a_rotation_has_no_effect(connection, key, rotate):
    token = rotate("r1", grace_s=60).token
    before = rotation.list_secrets(connection, key[0].id)
    again = rotate("r1", grace_s=0)
    assert again.token is None
    assert rotation.list_secrets(connection, key[0].id) == before
    assert is_known(connection, token)


def test_rotations_are_audited_without_the_secret(connection, rotate):
    token = rotate("r1", grace_s=60).token
    row = connection.execute("SELECT actor, action, before, after FROM audit ORDER BY id DESC LIMIT 1").fetchone()
    assert row == {"actor": "ada", "action": "key.rotate", "before": None, "after": {"secret": 2, "grace_s": 60}}
    assert token.rpartition("_")[2] not in str(connection.execute("SELECT * FROM key_secret").fetchall())


def test_a_deleted_key_cannot_be_rotated(connection, key, rotate):
    keys.delete(connection, key[0].id, actor="test")
    with pytest.raises(Problem) as refused:
        rotate("r1")
    assert refused.value.code == "key_deleted"
