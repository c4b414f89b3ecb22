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


def test_key_is_made_with_terms(call, key):
    assert {name: key[name] for name in TERMS} == TERMS
    assert call("GET", f"/v1/keys/{key['id']}") == key


def test_terms_are_changed_one_by_one_and_audited(call, key, connection):
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
def test_wrong_terms_are_refused_and_nothing_changes(call, key, change, field):
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
def test_wrong_rotation_is_refused(call, key, body):
    call("POST", f"/v1/keys/{key['id']}/rotations", body, status=422)
