import pytest


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"3", b'"x"', b"\xff\xfe", b"null", b'{"name":"a"}', b"[" * 100_000]
)
def test_invalid_bodies_are_rejected(client, operator, body):
    answer = client.post("/v1/accounts", data=body, headers=operator)
    assert answer.status_code == 422, answer.text
    assert answer.content_type == "application/problem+json"


def test_account_changes_plan_and_status(call, account):
    call("POST", "/v1/plans", {"id": "pro", "name": "Pro", "limits": []}, status=201)
    path = f"/v1/accounts/{account['id']}"
    assert call("PATCH", path, {"plan": "pro", "status": "suspended"})["plan"] == "pro"
    assert call("GET", path)["status"] == "suspended"
    call("PATCH", path, {"status": "active", "plan": "gone"}, status=404)
    assert call("GET", path)["status"] == "suspended"


@pytest.mark.usefixtures("account")
def test_accounts_are_paginated(call):
    for number in range(4):
        call("POST", "/v1/accounts", {"name": f"A{number}", "plan": "free"}, status=201)
    seen, after = [], ""
    while after is not None:
        page = call("GET", f"/v1/accounts?limit=2&after={after}")
        seen += [account["id"] for account in page["accounts"]]
        after = page["next"]
    assert len(seen) == len(set(seen)) == 5


def test_account_is_deleted_unless_it_has_keys(call, account, key):
    path = f"/v1/accounts/{account['id']}"
    assert call("DELETE", path, status=409)["code"] == "account_in_use"
    assert call("GET", path) == account
    path = f"/v1/accounts/{call('POST', '/v1/accounts', {'name': 'Mistake', 'plan': 'free'}, status=201)['id']}"
    call("DELETE", path, status=204)
    call("GET", path, status=404)


def test_a_support_note_is_in_the_audit_log(call, account):
    path = f"/v1/accounts/{account['id']}/notes"
    added = call("POST", path, {"text": "Called about limits"}, status=201)
    assert (added["action"], added["after"]) == ("note.add", {"text": "Called about limits"})
    assert call("GET", f"/v1/audit?account={account['id']}&action=note.add")["entries"] == [added]
    assert call("POST", path, {"text": " "}, status=422)["errors"][0]["field"] == "text"
    call("POST", "/v1/accounts/nothing/notes", {"text": "x"}, status=404)
