import gzip
import re

import pytest

from keygauge_keyservice.app import API, create_app
from keygauge_keyservice.openapi import document


@pytest.fixture
def account(client, operator):
    client.post("/v1/plans", json={"id": "free", "name": "Free", "limits": []}, headers=operator)
    return client.post("/v1/accounts", json={"name": "Acme", "plan": "free"}, headers=operator).json


def test_answers_are_compressed_for_those_who_take_it(client):
    plain = client.get("/v1/openapi.json")
    small = client.get("/v1/openapi.json", headers={"Accept-Encoding": "br, gzip;q=0.5"})
    assert plain.content_encoding is None
    assert small.content_encoding == "gzip"
    assert gzip.decompress(small.data) == plain.data
    assert "Accept-Encoding" in small.headers["Vary"]
    assert client.get("/v1/openapi.json", headers={"Accept-Encoding": "gzip;q=0"}).content_encoding is None


def test_list_that_has_not_changed_is_not_sent_again(client, operator, account):
    path = f"/v1/accounts/{account['id']}/keys"
    etag = client.get(path, headers=operator).headers["ETag"]
    again = client.get(path, headers=operator | {"If-None-Match": etag, "Accept-Encoding": "gzip"})
    assert (again.status_code, again.data) == (304, b"")
    client.post(path, json={"name": "prod"}, headers=operator)
    assert client.get(path, headers=operator | {"If-None-Match": etag}).status_code == 200


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


def test_failed_write_may_be_sent_again(client, operator, account):
    headers = operator | {"Idempotency-Key": "one"}
    assert client.post("/v1/accounts", json={"name": "B", "plan": "none"}, headers=headers).status_code == 404
    assert client.post("/v1/accounts", json={"name": "B", "plan": "free"}, headers=headers).status_code == 201


def test_unfinished_write_is_not_begun_again(client, operator, account, connection):
    headers = operator | {"Idempotency-Key": "one"}
    client.post("/v1/accounts", json={"name": "B", "plan": "free"}, headers=headers)
    connection.execute("UPDATE idempotency SET status = NULL")
    assert (
        client.post("/v1/accounts", json={"name": "B", "plan": "free"}, headers=headers).json["code"] == "in_progress"
    )


@pytest.mark.parametrize("key", ["", "x" * 201, "ü"])
def test_wrong_idempotency_key_is_refused(client, operator, account, key):
    headers = operator | {"Idempotency-Key": key}
    assert client.post("/v1/accounts", json={"name": "B", "plan": "free"}, headers=headers).status_code == 422


@pytest.mark.parametrize(("proxies", "seen"), [(0, "127.0.0.1"), (1, "198.51.100.9"), (2, "203.0.113.5")])
def test_forwarded_address_counts_as_far_as_proxies_are_trusted(settings, connection, proxies, seen):
    app = create_app(type(settings)(**vars(settings) | {"proxies": proxies}))
    forwarded = {"X-Forwarded-For": "203.0.113.5, 198.51.100.9"}
    app.test_client().post("/sign-in", data={"email": "a@b.example", "password": "x"}, headers=forwarded)
    app.extensions["keygauge"].close()
    assert connection.execute("SELECT ip FROM sign_in_failure").fetchone()["ip"] == seen


def test_every_write_of_an_operator_takes_an_idempotency_key(app, client, operator):
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


def test_deletion_that_is_sent_again_is_answered_alike(client, operator, account):
    key = client.post(f"/v1/accounts/{account['id']}/keys", json={"name": "prod"}, headers=operator).json["key"]
    headers = operator | {"Idempotency-Key": "one"}
    for _ in range(2):
        answer = client.delete(f"/v1/keys/{key['id']}", headers=headers)
        assert (answer.status_code, answer.text) == (204, "")


def test_price_that_is_sent_again_is_set_once(client, operator, connection):
    body = {"model": "m", "tiers": [{"input": 1, "output": 2}]}
    first, second = (
        client.post("/v1/prices", json=body, headers=operator | {"Idempotency-Key": "one"}) for _ in range(2)
    )
    assert first.status_code == second.status_code == 201
    assert first.json == second.json
    assert connection.execute("SELECT count(*) AS prices FROM price").fetchone() == {"prices": 1}
