import json
from unittest.mock import ANY

import pytest

HEAD = {"replica": "a" * 32, "service": "api", "host": "a1", "version": "0.1.0", "mode": "enforce", "cursor": None}


def test_heartbeat_gets_a_response(client, replica):
    answer = client.post("/v1/heartbeat", json=HEAD, headers=replica)
    assert answer.status_code == 200
    assert answer.json == {
        "cursor": 0,
        "epoch": ANY,
        "more": False,
        "afresh": False,
        "t_max_ms": 10_000,
        "replicas": 1,
        "found": [],
        "unknown": [],
        "keys": [],
        "plans": [],
        "prices": None,
        "held": [],
        "grants": [],
        "denials": [],
        "unused": [],
        "wanted": [],
        "repeated": False,
        "replaced": [],
    }


def test_unknown_fields_of_newer_replicas_are_ignored(client, replica):
    assert client.post("/v1/heartbeat", json=HEAD | {"mood": "good"}, headers=replica).status_code == 200


def test_only_replicas_may_send_heartbeats(client, operator):
    assert client.post("/v1/heartbeat", json=HEAD).status_code == 401
    assert client.post("/v1/heartbeat", json=HEAD, headers=operator).status_code == 401


@pytest.mark.parametrize(
    "change",
    [
        {"replica": None},
        {"replica": "short"},
        {"replica": 5},
        {"service": "a\0b"},
        {"service": "x" * 201},
        {"host": None},
        {"version": "\ud800"},
        {"mode": "war"},
        {"mode": []},
        {"cursor": "1"},
        {"cursor": -1},
        {"cursor": True},
        {"cursor": 2**63},
        {"look_up": {}},
        {"look_up": [{}] * 501},
        {"look_up": [5]},
        {"look_up": [{"key": "k"}]},
        {"look_up": [{"key": "k", "digest": "00"}]},
        {"acquire": [{"limit": "1:a", "units": 0}]},
        {"acquire": [{"limit": "1:a", "units": 1.5}]},
        {"acquire": [{"limit": "1:a", "units": 2**53}]},
        {"acquire": [{"limit": 1, "units": 1}]},
        {"acquire": [{"limit": "1:a", "units": 1}, {"limit": "1:a", "units": 1}]},
        {"return": [{"lease": 8, "unspent": 1}]},
        {"return": [{"lease": "8", "unspent": -1}]},
        {"return": None},
    ],
)
def test_invalid_heartbeat_is_rejected_as_a_whole(client, replica, connection, change):
    answer = client.post("/v1/heartbeat", data=json.dumps(HEAD | change), headers=replica)
    assert answer.status_code == 422
    assert answer.json["code"] == "bad_heartbeat"
    assert answer.json["errors"]
    assert connection.execute("SELECT FROM replica").fetchall() == []


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000])
def test_body_that_is_not_a_heartbeat_is_rejected(client, replica, body):
    answer = client.post("/v1/heartbeat", data=body, headers=replica)
    assert answer.status_code == 422
    assert answer.json["code"] == "bad_heartbeat"
