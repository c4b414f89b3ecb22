import logging
import re

import pytest

from keygauge import key as key_format
from keygauge_keyservice.keys import key_limits, keys


def token_in(page):
    return re.search(r'<code id="token">(kg_[^<]+)</code>', page)[1]


def test_list_shows_only_the_keys_of_the_account(signed_in, customer, stranger):
    page = signed_in.get("/keys").text
    assert customer.key.name in page
    assert customer.key.id[:4] in page
    assert stranger.key.name not in page
    assert customer.token not in page


def test_token_is_shown_once_and_not_stored(connection, signed_in, customer, caplog):
    caplog.set_level(logging.DEBUG)
    answer = signed_in.post("/keys", {"name": "checkout", "environment": "test"})
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    token = token_in(answer.text)
    assert f"Bearer {token}" in answer.text
    key = keys.require(connection, key_format.parse(token))
    assert (key.name, key.environment, key.account_id) == ("checkout", "test", customer.account.id)
    assert key.created_by == customer.member.email
    for page in ("/", "/keys", "/usage", f"/usage?key={key.id}", "/calls", f"/keys/{key.id}/delete"):
        assert token not in signed_in.get(page).text
    assert token not in caplog.text
    tables = connection.execute("SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public'").fetchall()
    for table in tables:
        rows = connection.execute(f'SELECT t::text AS text FROM "{table["name"]}" AS t').fetchall()
        assert not any(token in row["text"] or token[21:53] in row["text"] for row in rows)


def test_reloading_the_new_key_page_creates_no_other_key(connection, signed_in, customer):
    form = signed_in.hidden("/keys/new") | {"name": "checkout", "environment": "live"}
    assert signed_in.client.post("/keys", data=form).status_code == 200
    again = signed_in.client.post("/keys", data=form)
    assert again.location == "/keys?notice=sent-before"
    assert "no other key was created" in signed_in.get(again.location).text
    assert len(keys.list_keys(connection, customer.account.id)) == 2


def test_lifetime_becomes_an_expiry(connection, signed_in):
    page = signed_in.post("/keys", {"name": "short", "environment": "live", "lifetime": "30"}).text
    key = keys.require(connection, key_format.parse(token_in(page)))
    assert (key.expires_at - key.created_at).days in {29, 30}


@pytest.mark.parametrize(
    "form",
    [
        {"name": "", "environment": "live"},
        {"name": "   ", "environment": "live"},
        {"name": "x" * 101, "environment": "live"},
        {"name": "a\x1b[31m", "environment": "live"},
        {"name": "good", "environment": "production"},
        {"name": "good", "environment": "live", "form_id": "'; DROP TABLE key--"},
    ],
)
def test_invalid_form_creates_no_key(connection, signed_in, customer, form):
    answer = signed_in.post("/keys", form)
    assert answer.status_code == 422
    assert "Key not created" in answer.text
    assert len(keys.list_keys(connection, customer.account.id)) == 1


def test_key_is_created_with_permissions_and_limits(connection, signed_in, customer):
    form = {"name": "narrow", "environment": "test", "lifetime": "30", "models": "gpt-4o\nclaude-*", "app": "the shop"}
    limit = {"amount-0": "5", "unit-0": "request", "per-0": "60"}
    token = re.search(r'<code id="token">(kg_[^<]+)</code>', signed_in.post("/keys", form | limit).text)[1]
    key = keys.find(connection, token.split("_")[2])
    assert (key.models, key.app, key.environment) == (["gpt-4o", "claude-*"], "the shop", "test")
    assert [(limit.amount, limit.window_s) for limit in key_limits.find(connection, key.id)] == [(5, 60)]
    wrong = signed_in.post("/keys", form | {"networks": "10.0.0.0/99", "amount-0": "many"})
    assert wrong.status_code == 422
    assert "10.0.0.0/99" in wrong.text
    assert len(keys.list_keys(connection, customer.account.id)) == 2


def test_selected_keys_are_disabled_at_once_and_deleted_after_confirmation(connection, signed_in, customer, settings):
    made = [
        keys.create(connection, peppers=settings.peppers, account_id=customer.account.id, name=name, actor="test")[0]
        for name in ("one", "two")
    ]
    chosen = {"key": [key.id for key in made]}
    done = signed_in.post("/keys/selected", chosen | {"action": "disabled"})
    assert "2 keys disabled." in signed_in.get(done.location).text
    assert {keys.find(connection, key.id).status for key in made} == {"disabled"}
    confirmation = signed_in.post("/keys/selected", chosen | {"action": "deleted"})
    assert "Delete 2 keys?" in confirmation.text
    assert {keys.find(connection, key.id).status for key in made} == {"disabled"}
    signed_in.post("/keys/selected", chosen | {"action": "deleted", "confirmed": "1"})
    assert {keys.find(connection, key.id).status for key in made} == {"deleted"}
    assert keys.find(connection, customer.key.id).status == "active"


def test_selected_keys_are_unchanged_if_an_operator_locked_one(connection, signed_in, customer, settings):
    given = {"peppers": settings.peppers, "account_id": customer.account.id, "actor": "test"}
    locked, _ = keys.create(connection, name="locked", **given)
    keys.set_status(connection, locked.id, "disabled", actor="op", by_operator=True)
    keys.set_status(connection, customer.key.id, "disabled", actor="test")
    answer = signed_in.post("/keys/selected", {"key": [customer.key.id, locked.id], "action": "active"})
    assert answer.status_code == 403
    assert {keys.find(connection, one).status for one in (customer.key.id, locked.id)} == {"disabled"}


@pytest.mark.parametrize(
    "name",
    ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{ 7 * 7 }}", "'onmouseover='alert(1)", "&amp;"],
)
def test_names_are_escaped_on_every_page(signed_in, name):
    created = signed_in.post("/keys", {"name": name, "environment": "live"}).text
    key_id = key_format.parse(token_in(created))
    pages = [created]
    pages += [signed_in.get(page).text for page in ("/", "/keys", f"/keys/{key_id}/delete", f"/usage?key={key_id}")]
    for page in pages:
        assert "<script>alert" not in page
        assert "<img src=x" not in page
        assert "'onmouseover='" not in page
    escaped = name.translate({38: "&amp;", 60: "&lt;", 62: "&gt;", 34: "&#34;", 39: "&#39;"})
    assert escaped in pages[2]


def test_key_is_disabled_enabled_and_deleted_by_the_member(connection, signed_in, customer):
    path = f"/keys/{customer.key.id}"
    for status, wording in (("disabled", "” disabled."), ("active", "” enabled.")):
        answer = signed_in.post(f"{path}/status", {"status": status})
        assert keys.require(connection, customer.key.id).status == status
        assert wording in signed_in.get(answer.location).text
    assert "can&#39;t be undone" in signed_in.get(f"{path}/delete").text
    answer = signed_in.post(f"{path}/delete")
    assert "deleted." in signed_in.get(answer.location).text
    assert keys.require(connection, customer.key.id).status == "deleted"
    actors = connection.execute("SELECT actor FROM audit WHERE subject = %s ORDER BY id", (customer.key.id,)).fetchall()
    assert [row["actor"] for row in actors] == ["test", *[customer.member.email] * 3]
    assert signed_in.post(f"{path}/status", {"status": "active"}).status_code == 409


def test_forged_notice_is_not_shown(signed_in, customer, stranger):
    for query in (
        f"notice=deleted&key={customer.key.id}",
        f"notice=active&key={stranger.key.id}",
        "notice=<script>&key=x",
    ):
        assert 'role="status"' not in signed_in.get(f"/keys?{query}").text


def test_key_of_another_account_is_not_found(connection, signed_in, stranger):
    for key_id in (stranger.key.id, "unknown00000", "%00", "x" * 5000):
        assert signed_in.get(f"/keys/{key_id}/delete").status_code == 404
        assert signed_in.post(f"/keys/{key_id}/delete").status_code == 404
        assert signed_in.post(f"/keys/{key_id}/status", {"status": "disabled"}).status_code == 404
        in_query = 422 if key_id == "%00" else 404  # the database cannot store NUL
        assert signed_in.get(f"/usage?key={key_id}").status_code == in_query
        assert signed_in.get(f"/usage.csv?key={key_id}").status_code == in_query
    assert keys.require(connection, stranger.key.id) == stranger.key


def test_viewer_sees_keys_but_cannot_change_them(app, connection, make_customer, signed_in):
    viewer_account = make_customer("Initech", role="viewer")
    viewer = type(signed_in)(app.test_client())
    viewer.sign_in(viewer_account)
    page = viewer.get("/keys").text
    assert viewer_account.key.name in page
    assert "Create key" not in page
    path = f"/keys/{viewer_account.key.id}"
    assert viewer.post("/keys", {"name": "x", "environment": "live", "form_id": "0" * 32}).status_code == 403
    assert viewer.post(f"{path}/status", {"status": "disabled"}).status_code == 403
    assert viewer.post(f"{path}/delete").status_code == 403
    assert keys.require(connection, viewer_account.key.id).status == "active"


def test_empty_list_shows_an_example_request(connection, signed_in, customer):
    keys.delete(connection, customer.key.id, actor="test")
    page = signed_in.get("/keys").text
    assert "No keys yet" in page
    assert "curl https://api.example.com/" in page
