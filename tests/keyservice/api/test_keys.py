import pytest

TERMS = {
    "app": "Checkout of the shop",
    "scopes": ["chat:write"],
    "routes": ["/v1/chat/completions", "/v1/files*"],
    "networks": ["192.0.2.0/24", "2001:db8::/32"],
    "models": ["gpt-4o-mini", "claude-*", "anthropic.claude-3-haiku-20240307-v1:0"],
    "rotate_every_days": 90,
    "expires_at": "2031-01-01T00:00:00Z",
}


@pytest.fixture
def call(client, operator):
    def call(method, path, document=None, *, status=200):
        answer = client.open(path, method=method, json=document, headers=operator)
        assert answer.status_code == status, answer.text
        return answer.json if answer.data else None

    return call


@pytest.fixture
def account(call):
    call("POST", "/v1/plans", {"id": "free", "name": "Free", "limits": []}, status=201)
    return call("POST", "/v1/accounts", {"name": "Acme", "plan": "free"}, status=201)


@pytest.fixture
def key(call, account):
    made = call("POST", f"/v1/accounts/{account['id']}/keys", {"name": "prod", **TERMS}, status=201)
    return made["key"]


def test_key_is_created_with_terms(call, key):
    assert {name: key[name] for name in TERMS} == TERMS
    assert call("GET", f"/v1/keys/{key['id']}") == key


def test_terms_are_changed_individually_and_audited(call, key, connection):
    changed = call("PATCH", f"/v1/keys/{key['id']}", {"networks": ["192.0.2.1"], "app": None})
    assert changed == key | {"networks": ["192.0.2.1/32"], "app": None}
    row = connection.execute("SELECT action, before, after FROM audit ORDER BY id DESC LIMIT 1").fetchone()
    assert row == {
        "action": "key.change",
        "before": {"networks": TERMS["networks"], "app": TERMS["app"]},
        "after": {"networks": ["192.0.2.1/32"], "app": None},
    }


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"networks": ["10.0.0.1/8"]}, "networks[0]"),
        ({"networks": ["300.1.1.1"]}, "networks[0]"),
        ({"networks": ["::ffff:10.0.0.1"]}, "networks[0]"),
        ({"networks": ["fe80::1%eth0"]}, "networks[0]"),
        ({"networks": ["192.0.2.1", "; DROP TABLE key"]}, "networks[1]"),
        ({"networks": ["192.0.2.0/33"]}, "networks[0]"),
        ({"networks": [5]}, "networks[0]"),
        ({"networks": "192.0.2.1"}, "networks"),
        ({"networks": None}, "networks"),
        ({"networks": ["192.0.2.1"] * 101}, "networks"),
        ({"routes": ["v1/chat"]}, "routes[0]"),
        ({"routes": ["/v1/*/chat"]}, "routes[0]"),
        ({"routes": ["/a b"]}, "routes[0]"),
        ({"routes": ["/" + "x" * 300]}, "routes[0]"),
        ({"models": [""]}, "models[0]"),
        ({"models": ["*"]}, "models[0]"),
        ({"models": ["gpt *"]}, "models[0]"),
        ({"models": ["x" * 102]}, "models[0]"),
        ({"models": [f"m{number}" for number in range(51)]}, "models"),
        ({"scopes": ["Über"]}, "scopes[0]"),
        ({"scopes": [""]}, "scopes[0]"),
        ({"rotate_every_days": 0}, "rotate_every_days"),
        ({"rotate_every_days": "90"}, "rotate_every_days"),
        ({"app": "a\nb"}, "app"),
        ({"app": "x" * 201}, "app"),
        ({"expires_at": "31.12.2030"}, "expires_at"),
    ],
)
def test_invalid_terms_are_rejected_without_changes(call, key, change, field):
    problem = call("PATCH", f"/v1/keys/{key['id']}", {"name": "other"} | change, status=422)
    assert [error["field"] for error in problem["errors"]] == [field]
    assert call("GET", f"/v1/keys/{key['id']}") == key


def test_rotation_is_idempotent_by_its_id(call, key):
    path = f"/v1/keys/{key['id']}/rotations"
    first = call("POST", path, {"rotation_id": "2026-11", "grace_s": 3600}, status=201)
    assert first["token"].startswith(f"kg_live_{key['id']}_")
    assert [secret["number"] for secret in first["secrets"]] == [1, 2]
    again = call("POST", path, {"rotation_id": "2026-11", "grace_s": 0}, status=200)
    assert again == first | {"token": None}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"rotation_id": ""},
        {"rotation_id": "r", "grace_s": -1},
        {"rotation_id": "r", "grace_s": 10**9},
        {"rotation_id": "r", "grace_s": None},
        {"rotation_id": "r", "token": "x"},
    ],
)
def test_invalid_rotation_is_rejected(call, key, body):
    call("POST", f"/v1/keys/{key['id']}/rotations", body, status=422)


@pytest.mark.parametrize("name", ["", " ", "a" * 101, "a\nb", "a\0b", 5, None, " a"])
def test_invalid_name_is_rejected(call, account, name):
    problem = call("POST", f"/v1/accounts/{account['id']}/keys", {"name": name}, status=422)
    assert problem["errors"][0]["field"] == "name"


def test_token_is_shown_once_and_its_secret_is_not_stored(call, account, connection):
    made = call("POST", f"/v1/accounts/{account['id']}/keys", {"name": "prod", "environment": "test"}, status=201)
    token, key = made["token"], made["key"]
    assert token.startswith(f"kg_test_{key['id']}_")
    assert call("GET", f"/v1/keys/{key['id']}") == key
    secret = token.rpartition("_")[2]
    dump = [
        str(connection.execute(f"SELECT * FROM {table}").fetchall())
        for table in ("key", "key_secret", "audit", "key_change")
    ]
    assert secret not in "".join(dump)


def test_keys_are_paginated_without_deleted_ones(call, account):
    path = f"/v1/accounts/{account['id']}/keys"
    ids = [call("POST", path, {"name": f"k{number}"}, status=201)["key"]["id"] for number in range(5)]
    call("DELETE", f"/v1/keys/{ids[1]}", status=204)
    first = call("GET", f"{path}?limit=2")
    assert [key["id"] for key in first["keys"]] == [ids[0], ids[2]]
    second = call("GET", f"{path}?limit=2&after={first['next']}")
    assert [key["id"] for key in second["keys"]] == [ids[3], ids[4]]
    assert call("GET", f"{path}?limit=2&after={second['next']}") == {"keys": [], "next": None}


def test_key_is_changed(call, key):
    path = f"/v1/keys/{key['id']}"
    change = {"name": "production", "status": "disabled", "expires_at": "2031-01-01T00:00:00Z"}
    changed = call("PATCH", path, change)
    assert (changed["name"], changed["status"], changed["expires_at"]) == (
        "production",
        "disabled",
        "2031-01-01T00:00:00Z",
    )
    assert call("PATCH", path, {"expires_at": None})["expires_at"] is None
    assert call("PATCH", path, {"status": "active"})["status"] == "active"


@pytest.mark.parametrize(
    "change",
    [
        {"status": "deleted"},
        {"status": None},
        {"name": ""},
        {"expires_at": "tomorrow"},
        {"expires_at": "2031-01-01T00:00:00"},
        {"expires_at": 5},
        {"expires_at": "0001-01-01T00:00:00+14:00"},
        {"expires_at": "9999-12-31T23:59:59-14:00"},
        {"expires_at": "1969-12-31T23:59:59Z"},
        {"account": "other"},
    ],
)
def test_invalid_change_is_rejected_without_changes(call, key, change):
    path = f"/v1/keys/{key['id']}"
    call("PATCH", path, {"name": "other"} | change, status=422)
    assert call("GET", path) == key


def test_deleted_key_can_be_read_but_not_changed(call, key):
    path = f"/v1/keys/{key['id']}"
    call("DELETE", path, status=204)
    call("DELETE", path, status=204)
    assert call("GET", path)["status"] == "deleted"
    assert call("PATCH", path, {"status": "active"}, status=409)["code"] == "key_deleted"
    assert call("PUT", f"{path}/limits", {"limits": []}, status=409)["code"] == "key_deleted"
