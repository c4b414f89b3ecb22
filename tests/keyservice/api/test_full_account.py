"""What an account's own token can add to it has a maximum, however many requests arrive at once."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from keygauge_keyservice.accounts import accounts, plans, tokens
from keygauge_keyservice.keys import rotation
from keygauge_keyservice.notices import channels

KEYS_MAX = 5


@pytest.fixture
def settings(settings):
    return replace(settings, account_keys_max=KEYS_MAX)


@pytest.fixture
def account(connection):
    plans.create(connection, plan_id="free", name="Free", limits=[], actor="test")
    return accounts.create(connection, name="Acme", plan_id="free", actor="test").id


@pytest.fixture
def post(app, connection, account):
    given = {"kind": "account", "account_id": account, "name": "ci", "scope": "manage", "actor": "ada"}
    headers = {"Authorization": f"Bearer {tokens.create(connection, **given)[1]}"}
    connection.commit()

    def post(path, document):
        return app.test_client().post(path, json=document, headers=headers)

    return post


def at_once(number, send):
    with ThreadPoolExecutor(number) as threads:
        answers = list(threads.map(lambda _: send(), range(number)))
    made = [answer for answer in answers if answer.status_code == 201]
    return made, [answer for answer in answers if answer.status_code != 201]


def test_keys(post, account):
    made, refused = at_once(KEYS_MAX + 3, lambda: post(f"/v1/accounts/{account}/keys", {"name": "k"}))
    assert len(made) == KEYS_MAX
    assert {(answer.status_code, answer.json["code"]) for answer in refused} == {(409, "too_many_keys")}
    assert f"at most {KEYS_MAX} keys" in refused[0].json["detail"]


def test_secrets_that_stay_valid(post, account):
    key_id = post(f"/v1/accounts/{account}/keys", {"name": "k"}).json["key"]["id"]

    def rotate(number, grace_s=3600):
        return post(f"/v1/keys/{key_id}/rotations", {"rotation_id": f"r{number}", "grace_s": grace_s})

    assert [rotate(number).status_code for number in range(rotation.SECRETS_MAX)] == [201] * 9 + [409]
    assert rotate(99).json["code"] == "too_many_secrets"
    assert rotate(0).status_code == 200  # done before
    assert len(rotate(100, grace_s=0).json["secrets"]) == 1


def test_notifications(post, account):
    wanted = {"type": "webhook", "target": "https://hooks.example.com/", "events": ["quota"]}
    made, refused = at_once(channels.CHANNELS_MAX + 4, lambda: post(f"/v1/accounts/{account}/notifications", wanted))
    assert len(made) == channels.CHANNELS_MAX
    assert {answer.status_code for answer in refused} == {422}


def test_access_tokens(app, connection, account):
    connection.commit()

    def create():
        with app.extensions["keygauge"].connection() as one:
            return tokens.create(one, kind="account", account_id=account, name="ci", actor="ada")

    def attempt(_):
        try:
            return create()
        except Exception as error:  # noqa: BLE001 - counted
            return error

    with ThreadPoolExecutor(8) as threads:
        done = list(threads.map(attempt, range(tokens.PER_ACCOUNT_MAX + 8)))
    assert sum(isinstance(one, tuple) for one in done) == tokens.PER_ACCOUNT_MAX
