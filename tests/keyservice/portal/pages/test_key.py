import re

import pytest

from keygauge.key import digest, parse
from keygauge.protocol import LookUp
from keygauge_keyservice.keys import keys, rotation
from keygauge_keyservice.sync import key_entries

TERMS = {
    "name": "checkout",
    "app": "the shop",
    "expires_on": "2031-01-01",
    "rotate_every_days": "90",
    "networks": "192.0.2.0/24\r\n\r\n 2001:db8::/32 ",
    "routes": "/v1/chat/completions\n/v1/files*",
    "scopes": "chat:write",
}


@pytest.fixture
def path(customer):
    return f"/keys/{customer.key.id}"


def test_page_shows_the_key_without_its_token(signed_in, customer, path):
    page = signed_in.get(path).text
    assert customer.key.name in page
    assert "Key created" in page
    assert customer.token not in page


def test_terms_are_saved_and_shown(connection, signed_in, customer, path):
    answer = signed_in.post(path, TERMS)
    assert answer.status_code == 303
    key = keys.require(connection, customer.key.id)
    assert (key.name, key.app, key.rotate_every_days) == ("checkout", "the shop", 90)
    assert key.networks == ["192.0.2.0/24", "2001:db8::/32"]
    assert key.routes == ["/v1/chat/completions", "/v1/files*"]
    assert key.expires_at.isoformat() == "2031-01-01T00:00:00+00:00"
    page = signed_in.get(answer.location).text
    assert "Changes saved" in page
    assert "the shop" in page
    signed_in.post(path, TERMS | {"expires_on": "", "networks": "", "rotate_every_days": "", "app": ""})
    key = keys.require(connection, customer.key.id)
    assert (key.expires_at, key.networks, key.rotate_every_days, key.app) == (None, [], None, None)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "x" * 101),
        ("name", "a\x1fb"),
        ("app", "x" * 201),
        ("app", "\x1b[31m"),
        ("expires_on", "31.12.2030"),
        ("expires_on", "9999-99-99"),
        ("rotate_every_days", "-1"),
        ("rotate_every_days", "9" * 30),
        ("rotate_every_days", "1e3"),
        ("rotate_every_days", "٣"),
        ("networks", "10.0.0.1/8"),
        ("networks", "300.1.1.1"),
        ("networks", "localhost"),
        ("networks", "1" * 5000),
        ("networks", "\n".join(f"192.0.2.{n % 250}" for n in range(101))),
        ("routes", "chat"),
        ("routes", "/a b"),
        ("scopes", "<script>alert(1)</script>"),
    ],
)
def test_hostile_input_is_rejected_and_changes_nothing(connection, signed_in, customer, path, field, value):
    answer = signed_in.post(path, TERMS | {field: value})
    assert answer.status_code == 422
    assert 'aria-invalid="true"' in answer.text
    assert "<script>alert" not in answer.text
    assert keys.require(connection, customer.key.id) == customer.key


def test_secret_is_rotated_with_grace_and_shown_once(connection, settings, signed_in, customer, path):
    page = signed_in.get(path)
    form = dict(re.findall(r'<input type="hidden" name="(csrf|form_id)" value="([^"]+)"', page.text))
    answer = signed_in.client.post(f"{path}/rotate", data=form | {"grace": "86400"})
    token = re.search(r'<code id="token">(kg_[^<]+)</code>', answer.text)[1]
    assert parse(token) == customer.key.id
    for one in (token, customer.token):
        assert key_entries.look_up(connection, [LookUp(customer.key.id, digest(one).hex())], settings.peppers)
    again = signed_in.client.post(f"{path}/rotate", data=form | {"grace": "0"})
    assert "not rotated again" in signed_in.get(again.location).text
    assert len(rotation.list_secrets(connection, customer.key.id)) == 2
    assert token not in signed_in.get(path).text
    assert "Valid until" in signed_in.get(path).text


@pytest.mark.parametrize("form", [{"grace": "5"}, {"grace": ""}, {"grace": "0", "form_id": "x"}])
def test_invalid_rotation_form_is_rejected(connection, signed_in, customer, path, form):
    assert signed_in.post(f"{path}/rotate", form, page=path).status_code == 422
    assert len(rotation.list_secrets(connection, customer.key.id)) == 1


def test_strangers_key_is_neither_shown_nor_changed(connection, signed_in, stranger):
    path = f"/keys/{stranger.key.id}"
    assert signed_in.get(path).status_code == 404
    assert signed_in.post(path, TERMS).status_code == 404
    assert signed_in.post(f"{path}/rotate", {"grace": "0"}).status_code == 404
    assert keys.require(connection, stranger.key.id) == stranger.key
