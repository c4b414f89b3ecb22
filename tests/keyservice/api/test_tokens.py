import pytest

from keygauge_keyservice.accounts import token_book, tokens
from keygauge_keyservice.api import me
from keygauge_keyservice.web.guess_throttle import PER_WINDOW


@pytest.fixture(autouse=True)
def _no_delay(monkeypatch):
    monkeypatch.setattr(token_book, "_FRESH_S", -1)


@pytest.fixture
def create(client, operator):
    def create(headers=None, **fields):
        body = {"kind": "admin", "name": "ci"} | fields
        return client.post("/v1/tokens", json=body, headers=operator | (headers or {}))

    return create


def bearer(secret):
    return {"Authorization": f"Bearer {secret}"}


def test_token_is_created_shown_once_listed_and_revoked(client, operator, create, connection):
    made = create(scope="read", expires_at="2099-01-31T12:00:00Z")
    assert made.status_code == 201
    secret, listed = made.json.pop("secret"), client.get("/v1/tokens", headers=operator)
    document = {name: value for name, value in made.json.items() if name != "secret"}
    assert listed.json == {"tokens": [document], "next": None}
    assert (document["kind"], document["scope"], document["created_by"]) == ("admin", "read", "operator")
    assert secret not in listed.text
    assert client.get("/v1/plans", headers=bearer(secret)).status_code == 200
    assert client.delete(f"/v1/tokens/{document['id']}", headers=operator).status_code == 204
    assert client.get("/v1/plans", headers=bearer(secret)).status_code == 401
    rows = connection.execute("SELECT action, actor FROM audit ORDER BY id").fetchall()
    assert [(row["action"], row["actor"]) for row in rows] == [
        ("token.create", "operator"),
        ("token.revoke", "operator"),
    ]


def test_changes_by_a_token_are_audited_with_its_name(create, client, connection):
    secret = create(name="deploy").json["secret"]
    made = client.post("/v1/tokens", json={"kind": "service", "name": "shop"}, headers=bearer(secret))
    assert (made.status_code, made.json["created_by"]) == (201, "token deploy")
    row = connection.execute("SELECT actor FROM audit ORDER BY id DESC LIMIT 1").fetchone()
    assert row["actor"] == "token deploy"


def test_repeated_request_returns_the_same_token_without_its_secret(create, client, operator):
    first, again = (create({"Idempotency-Key": "once"}) for _ in range(2))
    assert (again.status_code, again.json) == (201, {**first.json, "secret": None})
    assert len(client.get("/v1/tokens", headers=operator).json["tokens"]) == 1


@pytest.mark.parametrize("scope", ["read", "keys", "billing"])
def test_scoped_token_cannot_create_or_revoke_tokens(create, client, scope):
    made = create(scope=scope).json
    headers = bearer(made["secret"])
    assert client.post("/v1/tokens", json={"kind": "admin", "name": "more"}, headers=headers).status_code == 403
    assert client.delete(f"/v1/tokens/{made['id']}", headers=headers).status_code == 403


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "root"},
        {"kind": None},
        {"name": ""},
        {"name": "a\nb"},
        {"scope": "some"},
        {"kind": "service", "scope": "read"},
        {"kind": "metrics", "scope": "keys"},
        {"expires_at": "tomorrow"},
        {"secret": "mine"},
    ],
)
def test_invalid_token_is_rejected(create, change):
    assert create(**change).status_code == 422


def test_tokens_are_paginated(create, client, operator):
    ids = sorted(create(name=f"t{number}").json["id"] for number in range(5))
    first = client.get("/v1/tokens?limit=3", headers=operator).json
    rest = client.get(f"/v1/tokens?limit=3&after={first['next']}", headers=operator).json
    assert [token["id"] for token in first["tokens"] + rest["tokens"]] == ids
    assert rest["next"] is None


def test_unknown_token_is_404_and_only_operators_list_tokens(client, operator, replica):
    assert client.delete("/v1/tokens/nobody", headers=operator).status_code == 404
    assert client.get("/v1/tokens").status_code == client.get("/v1/tokens", headers=replica).status_code == 401


def test_a_service_cannot_block_an_address_for_the_callers_of_another_one(client, connection):
    secrets = [tokens.create(connection, kind="service", name=name, actor="op")[1] for name in ("shop", "search")]
    connection.commit()

    def ask(secret, number):
        question = {"key": "A" * 12, "digest": f"{number:064x}", "ip": "192.0.2.1", "query": {}}
        return client.post("/v1/key-status", json=question, headers={"Authorization": f"Bearer {secret}"}).status_code

    assert [ask(secrets[0], number) for number in range(PER_WINDOW + 1)][-2:] == [401, 429]
    assert ask(secrets[1], 0) == 401


def test_a_service_whose_callers_ask_too_much_leaves_key_status_to_others(client, connection):
    secrets = [tokens.create(connection, kind="service", name=name, actor="op")[1] for name in ("shop", "search")]
    connection.commit()
    question = {"key": "A" * 12, "digest": "0" * 64, "ip": "192.0.2.1", "query": {}}

    def ask(secret):
        return client.post("/v1/key-status", json=question, headers={"Authorization": f"Bearer {secret}"}).status_code

    with me._shares.turn("shop"), me._shares.turn("shop"):
        assert [ask(secret) for secret in secrets] == [503, 401]
    assert ask(secrets[0]) == 401
