"""Bad input over a real socket: clear errors from the middleware, unchanged answers from the app, correct counts."""

import json

import httpx2
import pytest

from keygauge_keyservice.accounts.plans import Limit

WIDE = Limit(name="rpm", unit="request", amount=100_000, window_s=60)
CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "How do I keep a nightly export short?"}]}
BODY_BYTES = 20_000_000


@pytest.fixture
def http(shared_stack):
    with httpx2.Client(base_url=shared_stack.api_url, timeout=100) as client:
        yield client


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def test_missing_key_is_answered_with_a_problem(http):
    answer = http.post("/v1/chat/completions", json=CHAT)
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "key_missing"


def test_two_different_keys_are_refused(http, shared_stack):
    _, one = shared_stack.create_key(WIDE)
    _, other = shared_stack.create_key(WIDE)
    answer = http.get("/v1/models", headers={**bearer(one), "X-API-Key": other})
    assert (answer.status_code, answer.json()["code"]) == (400, "key_conflict")
    assert http.get("/v1/models", headers={**bearer(one), "X-API-Key": one}).status_code == 200


@pytest.mark.parametrize("body", [b"", b"{", b"null", b"[]", b'{"model": 7}', b"\xff\xfe", b"NaN"])
def test_invalid_bodies_get_the_apps_answer_and_are_counted(http, shared_stack, eventually, body):
    key, token = shared_stack.create_key(WIDE)
    answer = http.post(
        "/v1/chat/completions", content=body, headers=bearer(token) | {"content-type": "application/json"}
    )
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"
    eventually(lambda: shared_stack.ledger(key.id, "status, request_bytes, usage_status"), [(400, len(body), "none")])


def test_large_body_is_passed_on_and_counted(http, shared_stack, eventually):
    key, token = shared_stack.create_key(WIDE)
    body = json.dumps({**CHAT, "padding": "x" * BODY_BYTES}).encode()
    answer = http.post(
        "/v1/chat/completions", content=body, headers=bearer(token) | {"content-type": "application/json"}
    )
    assert answer.json()["usage"]["prompt_tokens"] > 0
    eventually(lambda: shared_stack.ledger(key.id, "status, request_bytes"), [(200, len(body))])


def test_client_that_leaves_during_a_stream_is_counted_once(http, shared_stack, eventually):
    key, token = shared_stack.create_key(WIDE)
    body = {**CHAT, "stream": True, "stream_options": {"include_usage": True}}
    with http.stream("POST", "/v1/chat/completions", json=body, headers=bearer(token)) as answer:
        next(answer.iter_bytes(16))  # less than one event
    eventually(lambda: shared_stack.ledger(key.id, "status, stream, usage_status"), [(200, "sse", "estimated")])
    assert shared_stack.metric("keygauge_requests_total", keygauge_key_id=key.id) == 1
    assert shared_stack.metric("keygauge_request_active", http_request_method="POST") == 0
    assert shared_stack.metric("keygauge_stream_active", keygauge_stream_kind="sse") == 0
