from datetime import UTC, datetime

import pytest

from keygauge_keyservice.errors import FieldError
from keygauge_keyservice.keys import keys
from keygauge_keyservice.portal.pages import key_form

TERMS = {"app": "shop", "rotate_every_days": 90, "routes": ["/v1/chat", "/v1/files*"], "networks": ["192.0.2.0/24"]}


def test_form_round_trips(connection, settings, customer):
    given = {"account_id": customer.account.id, "name": "prod", "expires_at": datetime(2031, 1, 1, tzinfo=UTC)}
    key, _ = keys.create(connection, peppers=settings.peppers, actor="test", **given, **TERMS)
    form = key_form.of_key(key)
    assert (form["expires_on"], form["routes"]) == ("2031-01-01", "/v1/chat\n/v1/files*")
    empty = {"scopes": [], "models": [], "tools": []}
    assert key_form.document(form) == {"name": "prod"} | TERMS | empty


@pytest.mark.parametrize(
    ("text", "days"), [("", None), (" 7 ", 7), ("-1", "-1"), ("٣", "٣"), ("9" * 9, "9" * 9), ("1e3", "1e3")]
)
def test_invalid_days_are_kept_as_text_for_validation(text, days):
    assert key_form.document({"rotate_every_days": text})["rotate_every_days"] == days


def test_blank_lines_are_ignored():
    document = key_form.document({"name": " prod ", "models": " gpt-4o \r\n\r\n claude-* \n", "app": " "})
    assert (document["name"], document["models"], document["app"]) == ("prod", ["gpt-4o", "claude-*"], None)


def test_error_of_an_item_is_shown_at_its_field():
    assert key_form.messages([FieldError("networks[1]", "wrong", "'x' must be a network")]) == {
        "networks": "'x' must be a network"
    }
