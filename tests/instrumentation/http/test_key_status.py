"""Callers read their own key's status from the metered service, at a path that the operator chose."""

from datetime import UTC, datetime, timedelta

import pytest

from keygauge.settings.settings import Settings, SettingsError
from keygauge.sync import key_status
from keygauge_keyservice.keys import keys

ONCE = {"name": "once", "unit": "request", "amount": 1, "period": "month"}


async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"the host's"})


def wsgi_app(environ, start_response):
    start_response("200 OK", [])
    return [b"the host's"]


@pytest.fixture(params=["asgi", "wsgi"])
def ask(request, guard, guard_wsgi, visit, visit_wsgi):
    """`await ask(token, path)` calls an app whose middleware serves /v1/me."""
    options = {"key_status_path": "/v1/me", "trusted_proxies": ["127.0.0.1", "192.0.2.1"]}
    if request.param == "wsgi":
        guarded = guard_wsgi(wsgi_app, **options)

        async def ask(token=None, path="/v1/me", **others):
            return visit_wsgi(guarded, token, path, **others)
    else:
        guarded = guard(app, **options)

        async def ask(token=None, path="/v1/me", **others):
            return await visit(guarded, token, path, **others)

    return ask


async def test_key_can_read_its_status_even_at_its_limit(service, ask):
    key, token = service.key(ONCE)
    assert (await ask(token, "/hello")).text == "the host's"
    assert (await ask(token, "/hello")).status_code == 429
    service.events(1)
    until = (datetime.now(UTC) + timedelta(minutes=15)).isoformat().replace("+00:00", "Z")
    for _ in range(3):
        told = await ask(token, f"/v1/me?to={until}")
        assert (told.status_code, told.headers["cache-control"]) == (200, "no-store")
    assert (told.json()["key"]["id"], told.json()["limits"][0]["name"]) == (key.id, "once")
    assert told.json()["usage"]["requests"] == 2
    assert (await ask(token, method="HEAD")).content == b""


async def test_only_get_and_head_of_that_path_are_taken_from_the_host(service, ask):
    _, token = service.key()
    assert (await ask(token, "/v1/me", method="POST")).text == "the host's"
    assert (await ask(token, "/v1/me/")).text == "the host's"


async def test_wrong_key_or_query_is_refused(service, ask):
    _, token = service.key()
    assert (await ask()).json()["code"] == "key_missing"
    assert (await ask("nonsense")).json()["code"] == "key_invalid"
    stranger = token[:-8] + "".join(reversed(token[-8:]))
    assert (await ask(stranger)).status_code == 401
    wrong = await ask(token, "/v1/me?from=yesterday&key=other")
    assert (wrong.status_code, wrong.headers["content-type"]) == (422, "application/problem+json")
    assert {error["field"] for error in wrong.json()["errors"]} == {"from", "key"}
    many = "&".join(f"a{number}=1" for number in range(20))
    assert (await ask(token, f"/v1/me?{many}")).status_code == 422


async def test_missing_key_is_asked_for_in_the_configured_header(service, guard, visit, monkeypatch):
    monkeypatch.setenv("KEYGAUGE_CREDENTIAL_HEADER", "X-Shop-Key")
    refused = await visit(guard(app, key_status_path="/v1/me"), path="/v1/me")
    assert refused.json()["detail"] == "Send your API key in 'X-Shop-Key'."


async def test_unusable_key_gets_the_reason(service, ask):
    key, token = service.key()
    keys.set_status(service.connection, key.id, "disabled", actor="test")
    told = await ask(token)
    assert (told.status_code, told.json()["code"]) == (401, "key_disabled")
    assert "invalid_token" in told.headers["www-authenticate"]


async def test_address_of_the_caller_is_used(service, ask):
    _, token = service.key(networks=["198.51.100.0/24"])
    assert (await ask(token)).json()["code"] == "ip_not_allowed"
    assert (await ask(token, headers={"x-forwarded-for": "198.51.100.7"})).status_code == 200


async def test_other_origins_may_read_it(service, ask):
    _, token = service.key()
    assert (await ask(token, headers={"origin": "https://a.example"})).headers["access-control-allow-origin"] == "*"


async def test_unreachable_key_service_is_503(service, ask):
    _, token = service.key()
    service.down()
    told = await ask(token)
    assert (told.status_code, told.json()["code"], told.headers["retry-after"]) == (503, "key_service_unavailable", "1")


async def test_without_the_setting_the_path_belongs_to_the_host(service, guard, visit):
    _, token = service.key()
    assert (await visit(guard(app), token, "/v1/me")).text == "the host's"


@pytest.mark.parametrize(
    "given",
    [{"key_status_path": "v1/me"}, {"key_status_path": "/v1/*"}, {"key_status_path": "/me", "service_url": None}],
)
def test_invalid_setting_is_refused(given, tmp_path):
    fitting = {"service_url": "http://127.0.0.1:1", "service_token": "t" * 16, "mode": "observe"}
    with pytest.raises(SettingsError, match="KEYGAUGE_KEY_STATUS_PATH"):
        Settings(spool_dir=tmp_path, **{**fitting, **given})


def test_too_many_concurrent_requests_are_refused(service, tmp_path):
    settings = Settings(spool_dir=tmp_path, service_url=service.url, service_token="test-service-token-0123456789")
    status = key_status.KeyStatus(settings)
    for _ in range(key_status.AT_ONCE):
        assert status._turns.acquire(blocking=False)
    assert status.ask(b"{}") is None
    status._turns.release()
    assert status.ask(b"{}")[0] == 422
    status.stop()
