"""Requested and answering models are separate, and failed calls count for the requested model."""

import asyncio
import json

import pytest
from flask import Flask, request

from keygauge.usage.requested_models import RequestedModels

ALIAS, SNAPSHOT = "gpt-4o", "gpt-4o-2024-08-06"


def answering(status, body):
    async def app(scope, receive, send):
        await receive()
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps(body).encode()})

    return app


GOOD = {"model": SNAPSHOT, "usage": {"prompt_tokens": 3, "completion_tokens": 2}, "choices": []}
BAD = {"error": {"message": "no"}}


async def call(app, token, model):
    headers = [(b"authorization", f"Bearer {token}".encode()), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": headers}
    scope |= {"query_string": b"", "client": ("192.0.2.1", 1)}
    body = json.dumps({"messages": [], "model": model}).encode()
    headers.append((b"content-length", str(len(body)).encode()))
    inbox = [{"type": "http.request", "body": body}] if model is not None else []

    async def receive():
        return inbox.pop(0) if inbox else await asyncio.Event().wait()

    async def send(message):
        pass

    await app(scope, receive, send)


@pytest.fixture
def switch(service, guard):
    """An app whose answer can be changed, and a valid key."""

    class Switch:
        def __init__(self):
            self.inside = answering(200, GOOD)

        async def __call__(self, scope, receive, send):
            await self.inside(scope, receive, send)

    app = Switch()
    return app, guard(app), service.key()[1]


@pytest.mark.parametrize("status", [400, 429, 500, 529])
async def test_failure_counts_for_the_model_that_answers_such_calls(service, switch, status):
    app, guarded, token = switch
    await call(guarded, token, ALIAS)
    app.inside = answering(status, BAD)
    await call(guarded, token, ALIAS)
    await call(guarded, token, SNAPSHOT)
    events = await asyncio.to_thread(service.events, 3)
    assert [event["model"] for event in events] == [SNAPSHOT] * 3
    assert [event["requested_model"] for event in events] == [ALIAS, ALIAS, SNAPSHOT]


async def test_call_refused_by_a_limit_has_its_model_though_no_limit_reads_its_body(service, switch, spent):
    _, guarded, _ = switch
    for _ in range(2):
        await call(guarded, spent, ALIAS)
    events = await asyncio.to_thread(service.events, 2)
    assert [(event["status"], event["model"], event["requested_model"]) for event in events] == [
        (200, SNAPSHOT, ALIAS),
        (429, SNAPSHOT, ALIAS),
    ]


def test_wsgi_call_refused_by_a_limit_has_its_model(service, guard_wsgi, visit_wsgi, spent):
    app = Flask("host")
    app.add_url_rule("/v1/chat/completions", "chat", lambda: request.get_json() and GOOD, methods=["POST"])
    guarded = guard_wsgi(app.wsgi_app)
    for _ in range(2):
        visit_wsgi(guarded, spent, "/v1/chat/completions", method="POST", json={"model": ALIAS})
    events = service.events(2)
    assert [(event["status"], event["requested_model"]) for event in events] == [(200, ALIAS), (429, ALIAS)]


async def test_refusal_does_not_wait_for_a_missing_body(service, switch, spent):
    _, guarded, _ = switch
    await call(guarded, spent, ALIAS)
    await asyncio.wait_for(call(guarded, spent, None), 30)
    assert (await asyncio.to_thread(service.events, 2))[1]["requested_model"] is None


async def test_failure_the_app_tried_counts_for_the_model_without_an_earlier_success(service, switch):
    app, guarded, token = switch
    app.inside = answering(503, BAD)
    await call(guarded, token, ALIAS)
    assert [event["model"] for event in (await asyncio.to_thread(service.events, 1))] == [ALIAS]


async def test_invented_names_count_for_no_model(service, switch):
    app, guarded, token = switch
    app.inside = answering(404, BAD)
    for number in range(3):
        await call(guarded, token, f"made-up-{number}")
    events = await asyncio.to_thread(service.events, 3)
    assert [event["model"] for event in events] == [None] * 3
    assert [event["requested_model"] for event in events] == [f"made-up-{number}" for number in range(3)]


async def test_model_field_outside_model_apis_is_not_a_model(service, guard, visit):
    _, token = service.key()
    await visit(guard(answering(404, BAD)), token, "/cars", method="POST", json={"model": "coupe"})
    assert (await asyncio.to_thread(service.events, 1))[0]["requested_model"] is None


@pytest.mark.parametrize("name", ["a\x00b", "x" * 300, "\ud800", "o'brien\"-7b"])
async def test_hostile_names_reach_the_ledger_as_text(service, switch, name):
    app, guarded, token = switch
    app.inside = answering(400, BAD)
    await call(guarded, token, name)
    (event,) = await asyncio.to_thread(service.events, 1)
    told = event["requested_model"]
    assert told is None or (told.isprintable() and len(told) <= 256)


@pytest.fixture
def spent(service):
    """A key with one call per day, by a limit that needs no body."""
    return service.key({"name": "one", "unit": "request", "amount": 1, "period": "day"})[1]


def test_remembered_names_are_bounded():
    asked = RequestedModels(most=4)
    for number in range(100):
        asked.learn(f"alias-{number}", f"model-{number}")
    assert asked.find("alias-1") == "model-1"
    assert asked.find("alias-99") is None
    assert not asked.is_new("model-99")
