"""A call that failed counts for the model that it asked for: looking at a model hides no failure."""

import asyncio
import json

import pytest

from keygauge.usage.asked_models import AskedModels

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
    inbox = [{"type": "http.request", "body": json.dumps({"messages": [], "model": model}).encode()}]

    async def receive():
        return inbox.pop(0)

    async def send(message):
        pass

    await app(scope, receive, send)


@pytest.fixture
def switch(service, guard):
    """An app whose answer can be changed, and a good key."""

    class Switch:
        def __init__(self):
            self.inside = answering(200, GOOD)

        async def __call__(self, scope, receive, send):
            await self.inside(scope, receive, send)

    app = Switch()
    return app, guard(app), service.key()[1]


@pytest.mark.parametrize("status", [400, 429, 500, 529])
async def test_failure_counts_where_the_answers_to_such_calls_do(service, switch, status):
    app, guarded, token = switch
    await call(guarded, token, ALIAS)
    app.inside = answering(status, BAD)
    await call(guarded, token, ALIAS)
    await call(guarded, token, SNAPSHOT)
    assert [event["model"] for event in (await asyncio.to_thread(service.events, 3))] == [SNAPSHOT] * 3


async def test_failure_of_what_the_app_tried_counts_though_nothing_went_well_before(service, switch):
    app, guarded, token = switch
    app.inside = answering(503, BAD)
    await call(guarded, token, ALIAS)
    assert [event["model"] for event in (await asyncio.to_thread(service.events, 1))] == [ALIAS]


async def test_names_that_clients_make_up_count_for_no_model(service, switch):
    app, guarded, token = switch
    app.inside = answering(404, BAD)
    for number in range(3):
        await call(guarded, token, f"made-up-{number}")
    assert [event["model"] for event in (await asyncio.to_thread(service.events, 3))] == [None] * 3


def test_what_is_remembered_is_bounded():
    asked = AskedModels(most=4)
    for number in range(100):
        asked.learn(f"alias-{number}", f"model-{number}")
    assert asked.find("alias-1") == "model-1"
    assert asked.find("alias-99") is None
    assert not asked.is_new("model-99")
