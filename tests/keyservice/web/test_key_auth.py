from datetime import UTC, datetime

import pytest

from keygauge.key import digest, generate
from keygauge_keyservice.accounts import accounts
from keygauge_keyservice.keys import keys, rotation


@pytest.fixture
def owned(connection, settings, account):
    return keys.create(connection, peppers=settings.peppers, account_id=account["id"], name="shop", actor="test")


def get_me(client, token):
    return client.get("/v1/me", headers={"Authorization": f"Bearer {token}"})


def test_api_key_header_is_accepted(client, owned):
    assert client.get("/v1/me", headers={"x-api-key": owned[1]}).json["key"]["id"] == owned[0].id


@pytest.mark.parametrize("spoil", [str.upper, lambda token: token[:-1], lambda token: "", lambda token: "nonsense"])
def test_invalid_key_is_rejected(client, owned, spoil):
    answer = get_me(client, spoil(owned[1]))
    assert (answer.status_code, answer.json["code"]) == (401, "unauthorized")


def test_disabled_expired_or_suspended_key_is_rejected(client, connection, owned):
    key, token = owned
    keys.set_status(connection, key.id, "disabled", actor="test")
    assert get_me(client, token).json["code"] == "key_disabled"
    keys.set_status(connection, key.id, "active", actor="test")
    keys.change(connection, key.id, actor="test", expires_at=datetime(2020, 1, 1, tzinfo=UTC))
    assert get_me(client, token).json["code"] == "key_expired"
    keys.change(connection, key.id, actor="test", expires_at=None)
    assert get_me(client, token).status_code == 200
    accounts.set_status(connection, key.account_id, "suspended", actor="test")
    assert get_me(client, token).json["code"] == "account_suspended"


def test_a_replaced_secret_is_told_apart_from_a_wrong_one(client, connection, owned, settings):
    key, token = owned
    rotated = rotation.rotate(connection, key.id, peppers=settings.peppers, rotation_id="1", actor="test")
    connection.commit()
    answer = get_me(client, token)
    assert (answer.status_code, answer.json["code"]) == (401, "key_replaced")
    assert answer.json["detail"].endswith("Use the new one.")
    assert get_me(client, generate("live", key.id)).json["code"] == "unauthorized"
    assert get_me(client, rotated.token).status_code == 200


def test_key_is_rejected_outside_its_networks(client, connection, owned):
    key, token = owned
    keys.change(connection, key.id, actor="test", networks=["10.0.0.0/8"])
    assert get_me(client, token).json["code"] == "ip_not_allowed"
    keys.change(connection, key.id, actor="test", networks=["127.0.0.0/8"])
    assert get_me(client, token).status_code == 200


def test_admin_token_is_not_a_key(client, operator):
    assert client.get("/v1/me", headers=operator).status_code == 401


def test_imported_key_is_accepted(client, connection, owned, settings):
    token = "sk-of-another-system-1"
    given = {"peppers": settings.peppers, "account_id": owned[0].account_id, "actor": "test", "name": "imported"}
    made = keys.take_over(connection, digest(token), **given)
    connection.commit()
    assert get_me(client, token).json["key"]["id"] == made.id
    assert get_me(client, f"{token}2").status_code == 401
    assert get_me(client, "sk-\u00e9").status_code == 401
