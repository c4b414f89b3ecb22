"""Hostile bodies for every operation in the OpenAPI document that takes JSON."""

import copy
import json
import re

import pytest

from keygauge_keyservice.api.document import samples
from keygauge_keyservice.app import API
from keygauge_keyservice.openapi import document

DOCUMENT = document(API)
DEEP = b"[" * 100_000
WHOLE = {
    "nothing": b"",
    "deep lists": DEEP,
    "deep objects": b'{"a":' * 50_000,
    "deep and whole": DEEP + b"]" * 100_000,
    "null": b"null",
    "a list": b"[]",
    "a number of 5,000 digits": b"9" * 5_000,
    "not a number": b"NaN",
    "infinite": b"1e999",
    "no text": b"\xff\xfe\x00",
    "half a surrogate": b'"\\ud800"',
    "a NUL": b"\0",
    "a byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"name": "x"}'.encode("utf-16"),
    "a tail": b"{} {}",
    "other members": b'{"__proto__": {}, "": 1, "\\u0000": 2, "\\ud800": 3}',
}
VALUES = (
    *(
        None,
        True,
        "",
        " ",
        "\0",
        "a\0b",
        "\ud800",
        "x" * 100_000,
        "\u202e",
        "1e3",
        "NaN",
        [],
        {},
        [[]],
        [None],
        {"a": []},
    ),
    *(-1, 0, 0.5, 2**31, 2**53, 2**63, 10**40, -(10**40), float("nan"), float("inf")),
)
BUSY, TRIES = 503, 5  # a busy machine may answer 503, but not every time
TOO_LONG = '"9e"'  # placeholder for JSON that `json.dumps` cannot write


def operations():
    for path, item in DOCUMENT["paths"].items():
        for method, operation in item.items():
            if "application/json" in operation.get("requestBody", {}).get("content", {}):
                yield pytest.param(path, method, operation, id=operation["operationId"])


def example(schema):
    """Return a value that a schema allows."""
    if "$ref" in schema:
        return example(DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    if options := schema.get("oneOf") or schema.get("anyOf") or schema.get("allOf"):
        return example(options[0])
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type", "string")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        return {name: example(inner) for name, inner in schema.get("properties", {}).items()}
    if kind == "array":
        return [example(schema["items"])]
    return {"integer": max(1, schema.get("minimum", 1)), "number": 1, "boolean": True}.get(kind, "a" * 32)


def places(value, path=()):
    yield path
    if isinstance(value, dict | list):
        for name in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[name], (*path, name))


def replaced(body, path, value):
    if not path:
        return value
    body = copy.deepcopy(body)
    inner = body
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    return body


def bodies(base):
    yield from WHOLE.values()
    written = json.dumps(base)
    yield f"{written[:-1]}, {written[1:]}".encode()  # each member twice
    for path in places(base):
        for value in VALUES:
            yield json.dumps(replaced(base, path, value)).encode()
        yield json.dumps(replaced(base, path, "9e")).replace(TOO_LONG, "9" * 5_000).encode()
        yield json.dumps(replaced(base, path, "9e")).replace(TOO_LONG, "[" * 900 + "]" * 900).encode()


@pytest.fixture
def ids(client, operator):
    def make(name, path):
        return client.post(path, json=samples.BODIES[name], headers=operator).json

    make("createPlan", "/v1/plans")
    account = make("createAccount", "/v1/accounts")["id"]
    key = make("createKey", f"/v1/accounts/{account}/keys")["key"]["id"]
    return {"account_id": account, "key_id": key, "plan_id": "pro"}


@pytest.mark.parametrize(("path", "method", "operation"), list(operations()))
def test_no_body_causes_a_server_error(app, client, operator, replica, ids, path, method, operation):
    app.testing = False  # an error becomes a response, as in production
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    base = samples.BODIES.get(operation["operationId"]) or example(schema)
    address = re.sub(r"\{(\w+)\}", lambda found: ids.get(found[1], "1"), path)
    headers = replica if operation["security"] == [{"replica": []}] else operator
    sent = {"method": method.upper(), "content_type": "application/json", "headers": headers}
    found = {}
    for body in bodies(base):
        answers = (client.open(address, data=body, **sent) for _ in range(TRIES))
        answer = next((one for one in answers if one.status_code != BUSY), None)
        if answer is None or answer.status_code >= 500 or (answer.status_code >= 400 and not answer.json.get("code")):
            found[body[:200]] = answer and (answer.status_code, answer.text[:200])
    assert found == {}
    assert b"\xed\xa0\x80" not in client.get("/v1/audit", headers=operator).data
