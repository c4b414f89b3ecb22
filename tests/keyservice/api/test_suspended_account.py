"""A suspended account can be read and tidied up, but gets nothing new."""

import pytest

from keygauge_keyservice.accounts import accounts, plans, tokens
from keygauge_keyservice.errors import Problem

HOOK = {"type": "webhook", "target": "https://hooks.example.com/", "events": ["quota"]}


@pytest.fixture
def account(connection):
    plans.create(connection, plan_id="free", name="Free", limits=[], actor="test")
    return accounts.create(connection, name="Acme", plan_id="free", actor="test").id


@pytest.fixture
def send(app, connection, account):
    given = {"kind": "account", "account_id": account, "name": "ci", "scope": "manage", "actor": "ada"}
    headers = {"Authorization": f"Bearer {tokens.create(connection, **given)[1]}"}
    connection.commit()

    def send(method, path, document=None):
        return app.test_client().open(f"/v1{path}", method=method, json=document, headers=headers)

    return send


def test_its_token_reads_and_deletes_but_creates_nothing(connection, account, send):
    key = send("POST", f"/accounts/{account}/keys", {"name": "old"}).json["key"]["id"]
    hook = send("POST", f"/accounts/{account}/notifications", HOOK).json["id"]
    accounts.set_status(connection, account, "suspended", actor="operator")
    connection.commit()
    for path, document in (("keys", {"name": "new"}), ("notifications", HOOK)):
        refused = send("POST", f"/accounts/{account}/{path}", document)
        assert (refused.status_code, refused.json["code"]) == (409, "account_suspended")
    assert send("GET", f"/usage?account={account}").status_code == 200
    assert [one["id"] for one in send("GET", f"/accounts/{account}/keys").json["keys"]] == [key]
    assert send("DELETE", f"/keys/{key}").status_code in {200, 204}
    assert send("DELETE", f"/accounts/{account}/notifications/{hook}").status_code in {200, 204}
    accounts.set_status(connection, account, "active", actor="operator")
    connection.commit()
    assert send("POST", f"/accounts/{account}/keys", {"name": "new"}).status_code == 201


def test_it_gets_no_new_tokens(connection, account):
    accounts.set_status(connection, account, "suspended", actor="operator")
    with pytest.raises(Problem) as refused:
        tokens.create(connection, kind="account", account_id=account, name="ci", actor="ada")
    assert (refused.value.status, refused.value.code) == (409, "account_suspended")
