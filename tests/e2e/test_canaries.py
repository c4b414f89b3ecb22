"""Secrets are sent to all interfaces of a running stack, and everything its processes wrote is searched for them."""

import re
import time

import httpx
import psycopg
import pytest
from serving import Receiver

from keygauge_keyservice import database
from keygauge_keyservice.accounts import members
from keygauge_keyservice.accounts.plans import Limit

EMAIL, PASSWORD = "owner@e2e.example", "canary-password-of-the-owner"
WRONG, INVITED = "canary-password-that-is-wrong", "canary-password-of-the-invited"


@pytest.fixture
def receiver():
    receiver = Receiver()
    yield receiver
    receiver.close()


def secret_of(token):
    return token.rpartition("_")[2]


def use_portal(stack, key):
    """Sign in with wrong and right passwords, create and rotate keys, invite someone; return the secrets involved."""
    url = stack.service_url
    with (
        httpx.Client(base_url=url, timeout=60) as portal,
        httpx.Client(base_url=url, timeout=60, follow_redirects=True) as invited,
    ):
        portal.post("/sign-in", data={"email": EMAIL, "password": WRONG})
        assert portal.post("/sign-in", data={"email": EMAIL, "password": PASSWORD}).status_code == 303

        def send(page, path, form):
            hidden = dict(
                re.findall(r'<input type="hidden" name="(csrf|form_id)" value="([^"]+)"', portal.get(page).text)
            )
            return portal.post(path, data=hidden | form).text

        created = send("/keys/new", "/keys", {"name": "another", "environment": "live"})
        rotated = send(f"/keys/{key.id}", f"/keys/{key.id}/rotate", {"grace": "3600"})
        tokens = [re.search(r'<code id="token">(kg_[^<]+)<', page)[1] for page in (created, rotated)]
        link = re.search(
            r"/invitation/([^<]+)<", send("/members", "/members", {"email": "n@e2e.example", "role": "viewer"})
        )[1]
        assert invited.post(f"/invitation/{link}", data={"password": INVITED, "again": INVITED}).status_code == 200
        assert invited.get(f"/invitation/{link}").status_code == 404
        errors = "".join(portal.get(f"/keys/{token}").text for token in tokens)
        pages = "".join(portal.get(path).text for path in ("/", "/keys", "/audit", "/audit.csv", "/members", "/usage"))
        cookies = [one.cookies["keygauge_session"] for one in (portal, invited)]
    return tokens, [secret_of(token) for token in tokens] + [link, PASSWORD, WRONG, INVITED, *cookies], errors + pages


def call(stack, token):
    """Call with a token correctly and in every wrong way; return the answers."""
    answers = []
    with httpx.Client(base_url=stack.api_url, timeout=60) as client:
        schemes = [f"{scheme} {token}".strip() for scheme in ("Bearer", "bearer", "Basic", "", "Token")]
        answers += [client.get("/v1/models", headers={"Authorization": scheme}) for scheme in schemes]
        for header in ("X-API-Key", "api-key", "x-goog-api-key"):
            answers.append(client.get("/v1/models", headers={header: token}))
            answers.append(client.get("/v1/models", headers={header: token + "x", "Authorization": f"Bearer {token}"}))
        answers.append(client.post("/v1/chat/completions", headers={"X-API-Key": token}, content=b"{"))
        assert answers[0].status_code == 200
    return "".join(answer.text + str(answer.headers) for answer in answers)


def dump(stack):
    """Return every row of every table and view as text."""
    with psycopg.connect(stack.database_url) as connection:
        names = connection.execute(
            "SELECT quote_ident(schemaname) || '.' || quote_ident(name) FROM ("
            "SELECT schemaname, tablename AS name FROM pg_tables UNION ALL SELECT schemaname, viewname FROM pg_views"
            ") AS relation WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
        rows = [connection.execute(f"SELECT t::text FROM {name} AS t").fetchall() for (name,) in names]
    return "\n".join(text for found in rows for (text,) in found)


def test_a_stack_writes_no_secrets(cold_stack, receiver, eventually):
    stack = cold_stack
    stack.start_service()
    stack.start_api(OTEL_EXPORTER_OTLP_ENDPOINT=receiver.base_url, OTEL_METRIC_EXPORT_INTERVAL="500")
    key, token = stack.create_key(Limit(name="month", unit="request", amount=10**6, period="month"))
    with database.connect(stack.database_url) as connection:
        members.create(connection, account_id=key.account_id, email=EMAIL, password=PASSWORD, actor="test")
    tokens, secrets, pages = use_portal(stack, key)
    operator = {"Authorization": f"Bearer {stack.admin_token}", "Idempotency-Key": "once"}
    made = httpx.post(
        f"{stack.service_url}/v1/accounts/{key.account_id}/keys", json={"name": "x"}, headers=operator, timeout=60
    )
    tokens += [made.json()["token"], token]
    secrets += [secret_of(one) for one in tokens] + [stack.admin_token, stack.service_token, "22" * 32]
    answers = pages + "".join(call(stack, one) for one in tokens)
    answers += httpx.get(f"{stack.service_url}/v1/keys/{token}", headers=operator, timeout=60).text
    eventually(lambda: len(stack.ledger(key.id)) > 10, expected=True)
    metrics = httpx.get(f"{stack.service_url}/metrics", headers=operator, timeout=60).text
    written = {"answers": answers, "database": dump(stack), "metrics": metrics}
    eventually(lambda: any(key.id.encode() in body for body in receiver.bodies), expected=True)
    stack.service.kill()  # from now on, events stay in the spool
    answers += call(stack, token)
    time.sleep(0.2)
    spool = [file.read_bytes() for file in (stack.directory / "spool").rglob("*") if file.is_file()]
    assert any(key.id.encode() in part for part in spool)
    stack.api.stop()
    written["spool"] = b"".join(spool).decode(errors="replace")
    written["otlp"] = b"".join(receiver.bodies).decode(errors="replace")
    for log in ("service.log", "api.log"):
        written[log] = (stack.directory / log).read_text(errors="replace")
    assert key.id in written["database"]
    found = [
        (where, number) for where, text in written.items() for number, secret in enumerate(secrets) if secret in text
    ]
    assert found == []
