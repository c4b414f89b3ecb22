from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from keygauge_keyservice.accounts import token_book, tokens
from keygauge_keyservice.app import create_app


@pytest.fixture(autouse=True)
def _no_delay(monkeypatch):
    monkeypatch.setattr(token_book, "_FRESH_S", -1)


@pytest.fixture
def make(connection):
    def make(kind="admin", name="deploy", **options):
        return tokens.create(connection, kind=kind, name=name, actor="test", **options)

    return make


def bearer(secret):
    return {"Authorization": f"Bearer {secret}"}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Basic test-admin-token-0123456789"},
        {"Authorization": "Bearer ünknown"},
        {"Authorization": "Bearer test-service-token-0123456789"},
    ],
)
def test_other_credentials_than_the_admin_token_are_rejected(client, headers):
    answer = client.get("/v1/plans", headers=headers)
    assert (answer.status_code, answer.json["code"]) == (401, "unauthorized")


def test_unauthorized_response_names_the_bearer_scheme(client):
    answer = client.get("/v1/plans")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert answer.content_type == "application/problem+json"


def test_tokens_with_the_same_name_are_valid_until_revoked(client, connection, make):
    (old, old_secret), (_, new_secret) = make(), make()
    assert [client.get("/v1/accounts", headers=bearer(one)).status_code for one in (old_secret, new_secret)] == [
        200
    ] * 2
    tokens.revoke(connection, old.id, actor="test")
    assert client.get("/v1/accounts", headers=bearer(old_secret)).status_code == 401
    assert client.get("/v1/accounts", headers=bearer(new_secret)).status_code == 200


def test_expired_or_unknown_token_is_rejected(client, make):
    _, secret = make(expires_at=datetime.now(UTC) - timedelta(seconds=1))
    for one in (secret, "kga_invented", "kgs_", ""):
        assert client.get("/v1/accounts", headers=bearer(one)).status_code == 401


@pytest.mark.parametrize(
    ("scope", "plan", "price"), [("read", 403, 403), ("keys", 403, 403), ("billing", 403, 422), ("all", 422, 422)]
)
def test_scope_limits_what_a_token_may_change(client, make, scope, plan, price):
    _, secret = make(scope=scope)
    assert client.get("/v1/plans", headers=bearer(secret)).status_code == 200
    assert client.post("/v1/plans", json={}, headers=bearer(secret)).status_code == plan
    assert client.post("/v1/prices", json={}, headers=bearer(secret)).status_code == price


def test_admin_and_service_tokens_are_not_interchangeable(client, make):
    _, of_service = make(kind="service", name="shop")
    _, of_admin = make()
    assert client.get("/v1/accounts", headers=bearer(of_service)).status_code == 401
    assert client.post("/v1/heartbeat", json={}, headers=bearer(of_admin)).status_code == 401
    assert client.post("/v1/heartbeat", json={}, headers=bearer(of_service)).status_code == 422


def test_environment_may_use_one_token_for_both(settings):
    app = create_app(replace(settings, service_token=settings.admin_token))
    client, headers = app.test_client(), bearer(settings.admin_token)
    assert client.get("/v1/accounts", headers=headers).status_code == 200
    assert client.post("/v1/heartbeat", json={}, headers=headers).status_code == 422
    app.extensions["keygauge"].close()


def test_metrics_token_reads_only_metrics(client, make):
    _, of_metrics = make(kind="metrics", name="prometheus")
    _, of_service = make(kind="service", name="shop")
    _, of_admin = make(scope="read")

    def status_of(path, secret, method="get"):
        return getattr(client, method)(path, headers=bearer(secret)).status_code

    assert [status_of("/metrics", one) for one in (of_metrics, of_service, of_admin)] == [200, 401, 200]
    assert [status_of(path, of_metrics) for path in ("/v1/accounts", "/v1/tokens")] == [401, 401]
    assert [status_of(path, of_metrics, "post") for path in ("/v1/heartbeat", "/v1/events", "/v1/reports")] == [401] * 3
