import html
import re

import pytest

from keygauge_keyservice.accounts import members, token_book, tokens


@pytest.fixture(autouse=True)
def _no_delay(monkeypatch):
    monkeypatch.setattr(token_book, "_FRESH_S", -1)


def create(visitor, **fields):
    form = {"name": "nightly export", "scope": "read", "lifetime": "90"} | fields
    return visitor.post("/tokens", form, page="/tokens")


def shown_secret(page):
    return html.unescape(re.search(r'<code id="secret">([^<]+)</code>', page)[1])


def test_member_creates_uses_and_revokes_a_token(signed_in, client, customer):
    made = create(signed_in)
    secret = shown_secret(made.text)
    headers = {"Authorization": f"Bearer {secret}"}
    assert [one["id"] for one in client.get("/v1/keys", headers=headers).json["keys"]] == [customer.key.id]
    assert client.delete(f"/v1/keys/{customer.key.id}", headers=headers).status_code == 403
    page = signed_in.get("/tokens").text
    assert secret not in page
    assert "nightly export" in page
    path = re.search(r'action="(/tokens/[^"]+/revoke)"', page)[1]
    assert signed_in.post(path).status_code == 303
    assert client.get("/v1/keys", headers=headers).status_code == 401
    assert "nightly export" not in signed_in.get("/tokens").text
    assert "Token revoked" in signed_in.get("/audit").text


def test_form_submitted_twice_creates_one_token(signed_in, connection, customer):
    form = signed_in.hidden("/tokens") | {"name": "ci", "scope": "manage", "lifetime": ""}
    assert [signed_in.client.post("/tokens", data=form).status_code for _ in range(2)] == [200, 303]
    assert len(tokens.list_tokens(connection, account_id=customer.account.id)) == 1


@pytest.mark.parametrize("wrong", [{"name": " "}, {"name": "x" * 101}, {"scope": "all"}, {"lifetime": "1e9"}])
def test_invalid_form_creates_no_token(signed_in, connection, wrong):
    assert create(signed_in, **wrong).status_code == 422
    assert tokens.list_tokens(connection) == []


def test_error_shows_the_maximum_number_of_tokens(signed_in, monkeypatch):
    monkeypatch.setattr(tokens, "PER_ACCOUNT_MAX", 1)
    create(signed_in)
    refused = create(signed_in)
    assert (refused.status_code, "at most 1 valid tokens" in refused.text) == (422, True)


def test_viewer_sees_tokens_but_cannot_create_them(visitor, connection, customer):
    given = {"email": "viewer@acme.example", "password": customer.password, "role": "viewer", "actor": "test"}
    members.create(connection, account_id=customer.account.id, **given)
    tokens.create(connection, kind="account", account_id=customer.account.id, name="ci", actor="test")
    visitor.client.post("/sign-in", data={"email": "viewer@acme.example", "password": customer.password})
    page = visitor.get("/tokens").text
    assert "ci</th>" in page
    assert "Create token" not in page
    csrf = re.search(r'name="csrf" value="([^"]+)"', page)[1]
    assert visitor.client.post("/tokens", data={"csrf": csrf, "name": "x"}).status_code == 403


def test_token_of_another_account_is_not_found(signed_in, connection, stranger):
    token, _ = tokens.create(connection, kind="account", account_id=stranger.account.id, name="theirs", actor="test")
    assert "theirs" not in signed_in.get("/tokens").text
    assert signed_in.post(f"/tokens/{token.id}/revoke").status_code == 404
    assert tokens.list_tokens(connection, only_valid=True) == [token]
