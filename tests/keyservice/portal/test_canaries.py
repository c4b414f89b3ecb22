"""Secrets are used everywhere, then everything that the system wrote is searched for them."""

import logging
import re

import pytest

from keygauge_keyservice.accounts import members

PASSWORD = "canary-password-one"
OTHER_PASSWORD = "canary-password-two"


def dump(connection):
    """Return every row of every table as text."""
    tables = connection.execute(
        "SELECT schemaname AS schema, tablename AS name FROM pg_tables WHERE schemaname IN ('public', 'grafana')"
    ).fetchall()
    return "\n".join(
        row["text"]
        for table in tables
        for row in connection.execute(f'SELECT t::text AS text FROM "{table["schema"]}"."{table["name"]}" AS t')
    )


@pytest.fixture
def canaries(app, client, connection, operator, settings, signed_in, customer, caplog):
    """Create secrets of every kind, use them, and return them, the CSRF token last."""
    caplog.set_level(logging.DEBUG)
    tokens = [customer.token]
    tokens += re.findall(
        r'<code id="token">(kg_[^<]+)</code>', signed_in.post("/keys", {"name": "c", "environment": "live"}).text
    )
    page = signed_in.post(f"/keys/{customer.key.id}/rotate", {"grace": "3600"}, page=f"/keys/{customer.key.id}").text
    tokens += re.findall(r'<code id="token">(kg_[^<]+)</code>', page)
    path = f"/v1/accounts/{customer.account.id}/keys"
    tokens.append(client.post(path, json={"name": "api"}, headers=operator).json["token"])
    rotation = client.post(f"/v1/keys/{customer.key.id}/rotations", json={"rotation_id": "r"}, headers=operator)
    tokens.append(rotation.json["token"])
    assert len(tokens) == 5
    page = signed_in.post("/members", {"email": "n@acme.example", "role": "member"}, page="/members").text
    link = re.search(r"/invitation/([^<]+)<", page)[1]
    newcomer = app.test_client()
    newcomer.post(f"/invitation/{link}", data={"password": PASSWORD, "again": PASSWORD})
    form = {"old": PASSWORD, "new": OTHER_PASSWORD, "again": OTHER_PASSWORD}
    csrf = re.search(r'name="csrf" value="([^"]+)"', newcomer.get("/password").text)[1]
    assert newcomer.post("/password", data=form | {"csrf": csrf}).status_code == 303
    cookie = newcomer.get_cookie("keygauge_session").value
    secrets = [*(token.rpartition("_")[2] for token in tokens), link, PASSWORD, OTHER_PASSWORD, cookie]
    secrets += [settings.admin_token, settings.service_token, settings.peppers.by_version[1].hex(), csrf]
    return secrets


def test_no_secret_is_in_the_database_logs_metrics_or_error_pages(
    client, connection, operator, signed_in, customer, canaries, caplog
):
    *secrets, csrf = canaries
    seen = []
    for token in [secret for secret in secrets if len(secret) > 30]:
        wrong = f"kg_live_{customer.key.id}_{token}"
        for address in (f"/keys/{wrong}", f"/v1/keys/{wrong}", f"/calls?key={wrong}", f"/invitation/{token}"):
            client.get(address, headers={"Authorization": f"Bearer {wrong}"})
    pages = ("/", "/keys", f"/keys/{customer.key.id}", "/members", "/audit", "/audit.csv", "/audit.json", "/usage")
    seen += [signed_in.get(path).text for path in pages]
    connection.execute("ALTER TABLE audit RENAME TO audit_gone")
    seen.append(signed_in.get("/audit").text)  # an error page, with its traceback in the log
    seen.append(client.get("/v1/audit", headers=operator).text)
    connection.execute("ALTER TABLE audit_gone RENAME TO audit")
    seen.append(client.get("/metrics", headers=operator).text)
    seen.append(client.get("/v1/openapi.json").text)
    assert 'relation "audit" does not exist' in caplog.text
    everything = {"answers": "\n".join(seen), "log": caplog.text, "database": dump(connection)}
    assert customer.key.id in everything["database"]
    for where, text in everything.items():
        for number, secret in enumerate(secrets):
            assert secret not in text, (where, number)
    assert csrf not in everything["log"]
    assert members.list_memberships(connection, "n@acme.example")
