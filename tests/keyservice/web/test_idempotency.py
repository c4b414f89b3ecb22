import re

import pytest

from keygauge_keyservice.accounts import tokens
from keygauge_keyservice.app import API
from keygauge_keyservice.openapi import document


def test_write_with_an_idempotency_key_is_done_once(client, operator, account, connection):
    path, headers = f"/v1/accounts/{account['id']}/keys", operator | {"Idempotency-Key": "one"}
    first = client.post(path, json={"name": "prod"}, headers=headers)
    again = client.post(path, json={"name": "prod"}, headers=headers)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json == first.json | {"token": None}
    assert connection.execute("SELECT count(*) AS keys FROM key").fetchone()["keys"] == 1
    assert first.json["token"][21:] not in str(connection.execute("SELECT body FROM idempotency").fetchall())
    assert client.post(path, json={"name": "other"}, headers=headers).json["code"] == "key_reused"
    assert client.post(path, json={"name": "prod"}, headers=operator | {"Idempotency-Key": "two"}).status_code == 201


def test_failed_write_can_be_retried(client, operator, account):
    headers = operator | {"Idempotency-Key": "one"}
    assert client.post("/v1/accounts", json={"name": "B", "plan": "none"}, headers=headers).status_code == 404
    assert client.post("/v1/accounts", json={"name": "B", "plan": "free"}, headers=headers).status_code == 201


def test_unfinished_write_is_not_started_again(client, operator, account, connection):
    headers = operator | {"Idempotency-Key": "one"}
    client.post("/v1/accounts", json={"name": "B", "plan": "free"}, headers=headers)
    connection.execute("UPDATE idempotency SET status = NULL")
    assert (
        client.post("/v1/accounts", json={"name": "B", "plan": "free"}, headers=headers).json["code"] == "in_progress"
    )


@pytest.mark.parametrize("key", ["", "x" * 201, "ü"])
def test_invalid_idempotency_key_is_rejected(client, operator, account, key):
    headers = operator | {"Idempotency-Key": key}
    assert client.post("/v1/accounts", json={"name": "B", "plan": "free"}, headers=headers).status_code == 422


def test_every_write_of_an_operator_accepts_an_idempotency_key(app, client, operator):
    documented = {
        (method, path): operation
        for path, item in document(API)["paths"].items()
        for method, operation in item.items()
        if method in {"post", "put", "patch", "delete"} and {"operator": []} in operation["security"]
    }
    del documented["post", "/v1/usage/query"]  # it writes nothing
    assert len(documented) > 10
    for (method, path), operation in documented.items():
        assert "Idempotency-Key" in [parameter["name"] for parameter in operation["parameters"]], path
        address = re.sub(r"{\w+}", "1", path)
        answer = client.open(address, method=method, json={}, headers=operator | {"Idempotency-Key": "x" * 201})
        assert [error["field"] for error in answer.json["errors"]] == ["Idempotency-Key"], path


def test_repeated_deletion_gets_the_same_response(client, operator, account):
    key = client.post(f"/v1/accounts/{account['id']}/keys", json={"name": "prod"}, headers=operator).json["key"]
    headers = operator | {"Idempotency-Key": "one"}
    for _ in range(2):
        answer = client.delete(f"/v1/keys/{key['id']}", headers=headers)
        assert (answer.status_code, answer.text) == (204, "")


def test_repeated_price_is_set_once(client, operator, connection):
    body = {"model": "m", "tiers": [{"input": 1, "output": 2}]}
    first, second = (
        client.post("/v1/prices", json=body, headers=operator | {"Idempotency-Key": "one"}) for _ in range(2)
    )
    assert first.status_code == second.status_code == 201
    assert first.json == second.json
    assert connection.execute("SELECT count(*) AS prices FROM price").fetchone() == {"prices": 1}


def test_stored_responses_are_separate_per_account(client, operator, account, connection):
    key = client.post(f"/v1/accounts/{account['id']}/keys", json={"name": "prod"}, headers=operator).json["key"]
    other = client.post("/v1/accounts", json={"name": "Beta", "plan": "free"}, headers=operator).json

    def of_account(account_id):
        given = {"kind": "account", "account_id": account_id, "name": "ci", "scope": "manage", "actor": "test"}
        return {"Authorization": f"Bearer {tokens.create(connection, **given)[1]}"}

    def change(headers, app):
        headers = headers | {"Idempotency-Key": "1"}
        return client.patch(f"/v1/keys/{key['id']}", json={"app": app}, headers=headers).status_code

    assert change(of_account(account["id"]), "shop") == 200
    assert change(of_account(other["id"]), "shop") == 404
    assert change(operator, "till") == 200
