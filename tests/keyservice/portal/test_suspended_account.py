"""Owners of a suspended account can read its pages, but create nothing; each form says why."""

import secrets

import pytest

from keygauge_keyservice.accounts import accounts

HOOK = {"form": "webhook", "target": "https://hooks.example.com/", "kinds": "quota"}


@pytest.fixture
def suspended(connection, customer):
    accounts.set_status(connection, customer.account.id, "suspended", actor="operator")
    connection.commit()


@pytest.mark.usefixtures("suspended")
@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("/keys", {"name": "new", "environment": "live"}),
        ("/tokens", {"name": "new", "scope": "read", "lifetime": "30"}),
        ("/notifications", HOOK),
    ],
)
def test_forms_create_nothing_and_say_why(signed_in, path, form):
    answer = signed_in.post(path, form | {"form_id": secrets.token_hex(16)})
    assert answer.status_code == 409
    assert "This account is suspended." in answer.text
    assert "whsec_" not in answer.text
    assert "kgo_" not in answer.text


@pytest.mark.usefixtures("suspended")
@pytest.mark.parametrize("path", ["/", "/keys", "/usage", "/calls", "/billing", "/members", "/audit", "/tokens"])
def test_pages_can_be_read(signed_in, path):
    assert signed_in.get(path).status_code == 200


@pytest.mark.usefixtures("suspended")
def test_key_cannot_be_started_that_would_be_refused(signed_in):
    assert "/keys/new" not in signed_in.get("/keys").text
