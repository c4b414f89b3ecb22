"""Every route and API operation, generated from the app itself, as those who may not: nothing of others is readable or
changeable. A route that is added is walked too, without anyone remembering it."""

import re

import pytest

from keygauge_keyservice import members
from keygauge_keyservice.app import API
from keygauge_keyservice.openapi import document

PUBLIC = {
    "portal.sign_in.show",
    "portal.sign_in.submit",
    "portal.sign_in.set_theme",
    "portal.assets.read",
    "portal.invitation.show",
    "portal.invitation.accept",
}
VIEWERS_OWN = {  # changes that concern the viewer alone
    "portal.sign_in.submit",
    "portal.sign_in.set_theme",
    "portal.sign_in.leave",
    "portal.password.change_password",
    "portal.invitation.accept",
}
TABLES = ("account", "key", "key_secret", "key_change", "member", "invitation", "audit", "plan", "plan_limit")
METHODS = {"GET", "POST", "PUT", "PATCH", "DELETE"}
FORM = {
    "name": "stolen",
    "app": "stolen",
    "status": "disabled",
    "role": "viewer",
    "email": "thief@evil.example",
    "plan": "pro",
    "text": "note",
    "grace": "0",
    "form_id": "ab" * 16,
    "environment": "live",
}


def walk(app, prefix, **values):
    """Yield (method, address, endpoint) of every rule whose endpoint begins so, with ids put in."""
    for rule in app.url_map.iter_rules():
        if rule.endpoint.startswith(prefix):
            address = re.sub(r"<(?:\w+:)?(\w+)>", lambda found: str(values.get(found[1], "1")), rule.rule)
            for method in sorted(rule.methods & METHODS):
                yield method, address, rule.endpoint


def state(connection):
    return {table: connection.execute(f"SELECT t::text FROM {table} AS t ORDER BY 1").fetchall() for table in TABLES}


def ids(customer):
    return {
        "key_id": customer.key.id,
        "account_id": customer.account.id,
        "member_id": customer.member.id,
        "plan_id": "pro",
        "version": "x",
        "name": "portal.css",
    }


@pytest.fixture
def marked(connection, make_customer, record):
    """A customer all of whose things have a mark that no page of others may show."""
    marked = make_customer("MARKEDSECRET")
    record(marked, {"ip": "203.0.113.213", "model": "MARKEDSECRET-model", "route": "/MARKEDSECRET"})
    return marked


def test_signed_out_visitor_gets_nowhere(app, connection, visitor, marked):
    before, walked = state(connection), 0
    for method, address, endpoint in walk(app, "portal.", **ids(marked)):
        if endpoint in PUBLIC:
            continue
        answer = visitor.client.open(address, method=method, data=FORM if method == "POST" else None)
        assert answer.status_code == 303, (method, address)
        assert answer.location.startswith("/sign-in"), (method, address)
        walked += 1
    assert walked > 35
    assert state(connection) == before


def test_member_of_another_account_reads_and_changes_nothing(app, connection, signed_in, customer, marked):
    csrf = signed_in.hidden()["csrf"]
    before = state(connection)
    for method, address, endpoint in walk(app, "portal.", **ids(marked)):
        if endpoint in {"portal.sign_in.leave", "portal.members.invite", "portal.keys.create"}:
            continue  # they name nothing of others
        for suffix in ("", f"?key={marked.key.id}", f"?subject={marked.key.id}", "?q=MARKED"):
            data = FORM | {"csrf": csrf} if method == "POST" else None
            answer = signed_in.client.open(address + suffix, method=method, data=data)
            assert answer.status_code < 500, (method, address)
            for secret in ("MARKEDSECRET", "203.0.113.213", marked.member.email):
                assert secret not in answer.text, (method, address + suffix)
    assert state(connection) == before


def test_viewer_changes_nothing(app, connection, customer, visitor):
    members.create(
        connection,
        account_id=customer.account.id,
        email="eye@acme.example",
        password="x" * 20,
        role="viewer",
        actor="t",
    )
    visitor.client.post("/sign-in", data={"email": "eye@acme.example", "password": "x" * 20})
    csrf = re.search(r'name="csrf" value="([^"]+)"', visitor.get("/keys").text)[1]
    before, walked = state(connection), 0
    for method, address, endpoint in walk(app, "portal.", **ids(customer)):
        if method == "GET" or endpoint in VIEWERS_OWN:
            continue
        answer = visitor.client.open(address, method=method, data=FORM | {"csrf": csrf})
        assert answer.status_code in {403, 404}, (method, address)
        walked += 1
    assert walked > 12
    assert state(connection) == before


@pytest.mark.parametrize("token", [None, "wrong", "test-service-token-0123456789", "a key"])
def test_api_is_the_operators_alone(app, client, connection, marked, token):
    token = marked.token if token == "a key" else token
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    before, walked = state(connection), 0
    for path, item in document(API)["paths"].items():
        for method, operation in item.items():
            if operation["security"] != [{"operator": []}]:
                continue
            address = re.sub(r"{(\w+)}", lambda found: str(ids(marked).get(found[1], "1")), path)
            answer = client.open(address, method=method.upper(), json={}, headers=headers)
            assert answer.status_code == 401, (method, address)
            assert "MARKEDSECRET" not in answer.text
            walked += 1
    assert walked > 14
    assert state(connection) == before


def test_cross_site_and_stale_forms_are_refused_everywhere(app, connection, signed_in, customer):
    csrf = signed_in.hidden()["csrf"]
    before = state(connection)
    for method, address, endpoint in walk(app, "portal.", **ids(customer)):
        if method != "POST":
            continue
        elsewhere = {"Sec-Fetch-Site": "cross-site"}
        assert signed_in.client.post(address, data=FORM | {"csrf": csrf}, headers=elsewhere).status_code == 403, address
        if endpoint not in PUBLIC:
            assert signed_in.client.post(address, data=FORM | {"csrf": "x"}).status_code == 403, address
    assert state(connection) == before
