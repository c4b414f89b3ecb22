"""Access to every route of the app by users without permission: they read and change nothing.

A new route fails these tests until it is listed in `WHO`.
"""

import re

import pytest

from keygauge_keyservice.accounts import members
from keygauge_keyservice.app import API
from keygauge_keyservice.openapi import document

WHO = {  # endpoints by who may use them; those of the API by credential
    "everyone": """
        health.live health.ready monitoring.expose openapi.read portal.assets.read portal.sign_in.show
        portal.sign_in.submit portal.sign_in.set_theme portal.invitation.show portal.invitation.accept
        portal.single_sign_on.begin portal.single_sign_on.finish""",
    "a member, about itself": """
        portal.sign_in.leave portal.password.show_password portal.password.change_password
        portal.password.save_preferences portal.password.switch_account portal.overview.dismiss""",
    "every member, about the account": """
        portal.overview.show portal.overview.live portal.keys.show portal.key.show portal.usage.show
        portal.key_table.export portal.key_table.export_json portal.key_choice.find portal.notifications.show
        portal.tokens.show
        portal.usage_table.export_csv portal.usage_table.export_json
        portal.calls.show portal.calls.read
        portal.calls.export portal.calls.export_json portal.audit.show portal.audit.export portal.audit.read
        portal.members.show portal.billing.show portal.billing.read portal.billing.export portal.billing.read_one
        portal.billing.export_one portal.billing.show_one portal.billing.export_focus
        portal.status.export_csv portal.status.export_json
        portal.member_table.export_csv portal.member_table.export_json""",
    "who may change": """
        portal.tokens.create portal.tokens.revoke
        portal.notifications.add portal.notifications.test portal.notifications.rotate portal.notifications.remove
        portal.keys.create portal.keys.create_page portal.keys.change_many
        portal.keys.set_status portal.keys.confirm_delete portal.keys.delete portal.key.change
        portal.key.rotate portal.key.replace_limits""",
    "owners": """
        portal.members.invite portal.members.set_role portal.members.confirm_remove portal.members.remove
        portal.members.withdraw portal.plan.confirm portal.plan.choose""",
    "operators": """
        portal.operator.show portal.operator.create portal.operator.read portal.operator.change_plan
        portal.operator.set_status portal.operator.add_note portal.operator.view_account portal.operator.leave
        portal.operator.find_keys portal.operator.list_plans portal.operator.list_prices portal.operator.add_price
        portal.operator.export portal.operator.export_json portal.operator.search
        portal.operator.change_plans portal.operator.invite portal.operator.set_key_status portal.operator.set_paid
        portal.operator.confirm_suspend""",
    "the admin token": """
        api_accounts.create api_accounts.delete api_accounts.change api_accounts.add_note
        api_members.invite api_members.withdraw api_members.change
        api_members.remove api_billing.close api_billing.set_paid api_billing.set_price api_plans.create
        api_plans.delete
        api_plans.replace_limits api_plans.set_providers api_plans.change api_prices.add api_prices.list_page
        api_tokens.create""",
    "the admin token, and an account's about the account": """
        api_accounts.list_page api_accounts.read api_audit.list_page api_attention.read
        api_members.list_page api_members.list_invitations api_billing.read api_billing.read_price api_calls.list_page
        api_key_limits.read api_key_limits.replace api_keys.create api_keys.list_page api_keys.read api_keys.change
        api_keys.delete api_keys.rotate api_keys.list_all api_plans.read api_price_list.list_page api_usage_query.read
        api_tokens.list_page api_tokens.revoke api_usage.read
        api_plans.list_page api_notifications.create api_notifications.list_page api_notifications.read
        api_notifications.change api_notifications.rotate
        api_notifications.delete api_notifications.test api_notifications.list_deliveries""",
    "a metered key": "api_me.read",
    "the service token": "api_heartbeat.receive api_events.take api_reports.receive api_me.read_for_caller",
}
WHO = {who: set(endpoints.split()) for who, endpoints in WHO.items()}
REFUSED = {  # groups of endpoints that are forbidden to each role
    "viewer": ("who may change", "owners", "operators"),
    "member": ("owners", "operators"),
    "owner": ("operators",),
}
WITHOUT_IDS = {
    *("portal.sign_in.leave", "portal.members.invite", "portal.keys.create", "portal.password.save_preferences"),
    "portal.notifications.add",
    "portal.tokens.create",
}
PASSING = {"session", "spent_form", "sign_in_failure", "idempotency"}  # tables that any request may write
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
    """Yield (method, address, endpoint) of every rule whose endpoint has the prefix, with `values` as ids."""
    for rule in app.url_map.iter_rules():
        if rule.endpoint.startswith(prefix):
            address = re.sub(r"<(?:\w+(?:\([^)]*\))?:)?(\w+)>", lambda found: str(values.get(found[1], "1")), rule.rule)
            for method in sorted(rule.methods & METHODS):
                yield method, address, rule.endpoint


def state(connection):
    """Return the rows of all tables except those that any request may write."""
    tables = connection.execute("SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public'").fetchall()
    return {
        table["name"]: connection.execute(f'SELECT t::text FROM "{table["name"]}" AS t ORDER BY 1').fetchall()
        for table in tables
        if table["name"] not in PASSING
    }


def ids(customer):
    return {
        "key_id": customer.key.id,
        "account_id": customer.account.id,
        "member_id": customer.member.id,
        "plan_id": "pro",
        "table": "keys",
        "kind": "attention",
        "token_id": "1",
        "version": "x",
        "name": "portal.css",
    }


@pytest.fixture
def marked(connection, make_customer, record):
    """A customer whose data contains a mark that other accounts must never see."""
    marked = make_customer("MARKEDSECRET")
    record(marked, {"ip": "203.0.113.213", "model": "MARKEDSECRET-model", "route": "/MARKEDSECRET"})
    return marked


def test_every_route_is_listed(app):
    listed = [endpoint for endpoints in WHO.values() for endpoint in endpoints]
    assert len(listed) == len(set(listed))
    assert set(listed) ^ {rule.endpoint for rule in app.url_map.iter_rules()} == set(), "list new routes in WHO"


def test_documented_security_matches_the_list(app):
    endpoints = {
        (re.sub(r"<(?:\w+(?:\([^)]*\))?:)?(\w+)>", r"{\1}", rule.rule), method): rule.endpoint
        for rule in app.url_map.iter_rules()
        for method in rule.methods
    }
    tokens = {"the admin token": [{"operator": []}], "the service token": [{"replica": []}]}
    tokens |= {"a metered key": [{"key": []}], "everyone": []}
    tokens["the admin token, and an account's about the account"] = [{"operator": []}, {"account": []}]
    for path, item in document(API)["paths"].items():
        for method, operation in item.items():
            endpoint = endpoints[path, method.upper()]
            assert [who for who in tokens if endpoint in WHO[who]] == [
                who for who, security in tokens.items() if operation["security"] == security
            ], endpoint


def test_signed_out_visitor_is_redirected_to_sign_in(app, connection, visitor, marked):
    before, walked = state(connection), 0
    for method, address, endpoint in walk(app, "portal.", **ids(marked)):
        if endpoint in WHO["everyone"]:
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
        if endpoint in WITHOUT_IDS:
            continue
        for suffix in ("", f"?key={marked.key.id}", f"?subject={marked.key.id}", "?q=MARKED"):
            data = FORM | {"csrf": csrf} if method == "POST" else None
            answer = signed_in.client.open(address + suffix, method=method, data=data)
            assert answer.status_code < 500, (method, address)
            for secret in ("MARKEDSECRET", "203.0.113.213", marked.member.email):
                assert secret not in answer.text, (method, address + suffix)
    assert state(connection) == before


@pytest.mark.parametrize("role", REFUSED)
def test_role_cannot_use_forbidden_endpoints(app, connection, customer, visitor, role):
    email, password = f"{role}2@acme.example", "a password of twenty"
    options = {"account_id": customer.account.id, "email": email, "password": password, "role": role}
    members.create(connection, **options, actor="test")
    visitor.client.post("/sign-in", data={"email": email, "password": password})
    csrf = re.search(r'name="csrf" value="([^"]+)"', visitor.get("/keys").text)[1]
    refused = set().union(*(WHO[who] for who in REFUSED[role]))
    before, walked = state(connection), set()
    for method, address, endpoint in walk(app, "portal.", **ids(customer)):
        if endpoint in refused:
            data = FORM | {"csrf": csrf} if method == "POST" else None
            answer = visitor.client.open(address, method=method, data=data)
            assert answer.status_code == (404 if endpoint in WHO["operators"] else 403), (method, address)
            walked.add(endpoint)
    assert walked == refused
    assert state(connection) == before


@pytest.mark.parametrize("token", [None, "wrong", "test-service-token-0123456789", "a key"])
def test_api_rejects_other_credentials(app, client, connection, marked, token):
    token = marked.token if token == "a key" else token
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    before, walked = state(connection), 0
    for method, address, endpoint in walk(app, "api_", **ids(marked)):
        if endpoint in WHO["the service token"] and token == "test-service-token-0123456789":
            continue
        if endpoint in WHO["a metered key"] and token == marked.token:
            continue
        answer = client.open(address, method=method, json={}, headers=headers)
        assert answer.status_code == 401, (method, address)
        assert "MARKEDSECRET" not in answer.text
        walked += 1
    assert walked > 20
    assert state(connection) == before


@pytest.mark.parametrize("path", ["/v1/heartbeat", "/v1/events"])
def test_replica_endpoints_reject_the_admin_token(client, operator, path):
    assert client.post(path, json={}, headers=operator).status_code == 401


def test_cross_site_and_stale_forms_are_rejected_everywhere(app, connection, signed_in, customer):
    csrf = signed_in.hidden()["csrf"]
    before = state(connection)
    for method, address, endpoint in walk(app, "portal.", **ids(customer)):
        if method != "POST":
            continue
        elsewhere = {"Sec-Fetch-Site": "cross-site"}
        assert signed_in.client.post(address, data=FORM | {"csrf": csrf}, headers=elsewhere).status_code == 403, address
        if endpoint not in WHO["everyone"]:
            assert signed_in.client.post(address, data=FORM | {"csrf": "x"}).status_code == 403, address
    assert state(connection) == before
