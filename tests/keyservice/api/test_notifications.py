from datetime import UTC, datetime, timedelta

import pytest

from keygauge_keyservice.accounts import accounts, members, plans
from keygauge_keyservice.notices import outbox
from keygauge_keyservice.notices.worker import Worker

URL = "https://hooks.example.com/T0/secret-path"


@pytest.fixture
def account(connection):
    plans.create(connection, plan_id="pro", name="Pro", limits=[], actor="test")
    account = accounts.create(connection, name="Acme", plan_id="pro", actor="test")
    given = {"email": "ada@acme.example", "password": "a long password", "actor": "test"}
    members.create(connection, account_id=account.id, **given)
    return account


@pytest.fixture
def call(client, operator, account):
    """`call(method, path)` sends a request to a path below the account's."""

    def call(method, path, body=None, **query):
        address = f"/v1/accounts/{account.id}{path}"
        return client.open(address, method=method, json=body, query_string=query, headers=operator)

    return call


def create(call, **fields):
    return call("POST", "/notifications", {"type": "webhook", "target": URL, "events": ["quota"]} | fields)


def test_webhook_is_created_read_changed_and_deleted(call, connection):
    made = create(call, events=["quota", "invoice", "quota"])
    assert made.status_code == 201
    assert made.json["secret"].startswith("whsec_")
    shown = {name: value for name, value in made.json.items() if name != "secret"}
    assert (shown["target"], shown["events"], shown["created_by"]) == (
        "hooks.example.com",
        ["invoice", "quota"],
        "operator",
    )
    path = f"/notifications/{shown['id']}"
    assert call("GET", path).json == shown
    assert call("GET", "/notifications").json == {"notifications": [shown], "next": None}
    assert call("PATCH", path, {"events": ["invoice"]}).json == shown | {"events": ["invoice"]}
    assert call("DELETE", path).status_code == 204
    assert call("GET", path).status_code == call("DELETE", path).status_code == 404
    actions = [row["action"] for row in connection.execute("SELECT action FROM audit ORDER BY id DESC LIMIT 3")]
    assert actions == ["notification.delete", "notification.change", "notification.create"]
    assert "secret-path" not in connection.execute("SELECT string_agg(audit::text, '') AS t FROM audit").fetchone()["t"]


def test_webhook_secret_is_rotated_and_shown_once(call, connection):
    made = create(call).json
    path = f"/notifications/{made['id']}"
    rotated = call("POST", f"{path}/rotate")
    assert rotated.status_code == 201
    assert rotated.json.keys() == made.keys()
    assert rotated.json["secret"] not in {made["secret"], None}
    audited = connection.execute("SELECT string_agg(audit::text, '') AS t FROM audit").fetchone()["t"]
    assert "notification.rotate" in audited
    assert "whsec_" not in audited + call("GET", path).text
    email = create(call, type="email", target="ada@acme.example").json
    assert call("POST", f"/notifications/{email['id']}/rotate").json["code"] == "notification_unsigned"
    assert call("POST", "/notifications/99/rotate").status_code == 404


def test_test_notifications_are_limited_per_minute(call, connection):
    path = f"/notifications/{create(call).json['id']}/tests"
    assert {call("POST", path).status_code for _ in range(outbox.TESTS_MAX)} == {202}
    refused = call("POST", path)
    assert (refused.status_code, refused.json["code"], refused.headers["Retry-After"]) == (429, "too_many_tests", "60")
    connection.execute("UPDATE notice SET created_at = created_at - interval '1 minute'")
    assert call("POST", path).status_code == 202


def test_email_notification_is_for_members_and_has_no_secret(call):
    made = create(call, type="email", target="Ada@acme.example")
    assert (made.json["target"], made.json["secret"]) == ("ada@acme.example", None)
    assert create(call, type="email", target="eve@evil.example").status_code == 422


@pytest.mark.parametrize(
    "wrong",
    [
        {"type": "pager"},
        {"target": "http://hooks.example.com/"},
        {"target": "https://user:word@hooks.example.com/"},
        {"type": "slack", "target": URL},
        {"events": []},
        {"events": ["everything"]},
    ],
)
def test_invalid_notification_is_rejected(call, wrong):
    assert create(call, **wrong).status_code == 422


def test_test_notification_is_delivered_like_any_other(call, connection):
    made = create(call, target="https://127.0.0.1/").json
    sent = call("POST", f"/notifications/{made['id']}/tests")
    assert sent.status_code == 202
    [pending] = call("GET", "/deliveries").json["deliveries"]
    assert (pending["id"], pending["status"], pending["event"]) == (sent.json["delivery"], "pending", "test")
    now = datetime.now(UTC) + timedelta(seconds=1)
    assert Worker().deliver(connection, now=now) == 0
    [refused] = call("GET", "/deliveries").json["deliveries"]
    assert (refused["status"], refused["attempts"]) == ("retrying", 1)
    assert refused["error"] == "127.0.0.1 is not a public address"


def test_deliveries_are_paginated_and_filtered(call, connection, account):
    first, second = (create(call, events=["quota"]).json["id"] for _ in range(2))
    for number in range(3):
        given = {"kind": "quota", "name": f"quota:{number}", "subject": f"{number}", "text": ""}
        outbox.add(connection, account_id=account.id, **given)
    outbox.succeed(connection, call("GET", "/deliveries").json["deliveries"][0]["id"], now=datetime.now(UTC))
    found, after = [], ""
    while after is not None:
        page = call("GET", "/deliveries", limit=2, after=after).json
        found += page["deliveries"]
        after = page["next"]
    assert [one["subject"] for one in found] == ["2", "2", "1", "1", "0", "0"]
    assert len({one["id"] for one in found}) == 6
    assert [one["status"] for one in found].count("delivered") == 1
    assert len(call("GET", "/deliveries", status="delivered").json["deliveries"]) == 1
    assert len(call("GET", "/deliveries", notification=second).json["deliveries"]) == 3
    assert first != second


def test_unknown_account_is_404(client, operator):
    for path in ("notifications", "deliveries"):
        assert client.get(f"/v1/accounts/nobody/{path}", headers=operator).status_code == 404
