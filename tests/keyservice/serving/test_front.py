import asyncio

import pytest

from keygauge_keyservice.app import API
from keygauge_keyservice.openapi import document
from keygauge_keyservice.serving.front import REPLICA_PATHS, Front, Turns


class App:
    """An ASGI app that counts its requests and holds them until released."""

    def __init__(self):
        self.inside = self.answered = 0
        self.let_go = asyncio.Event()

    async def __call__(self, scope, receive, send):
        self.inside += 1
        await self.let_go.wait()
        self.inside -= 1
        self.answered += 1
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


def scope(path="/", client="192.0.2.1", **headers):
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "path": path, "client": (client, 1), "headers": pairs}


async def settled():
    """Let every task run until it waits for the app."""
    for _ in range(20):
        await asyncio.sleep(0)


async def ask(app, scope):
    statuses = []

    async def send(message):
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    await app(scope, None, send)
    return statuses[0]


def test_the_paths_of_replicas_are_those_that_require_a_service_token():
    of_replicas = {
        path
        for path, item in document(API)["paths"].items()
        for operation in item.values()
        if operation["security"] == [{"replica": []}]
    }
    assert of_replicas == REPLICA_PATHS


@pytest.mark.parametrize("path", [*sorted(REPLICA_PATHS), "/healthz", "/readyz"])
async def test_requests_of_replicas_go_to_their_own_app(path):
    replicas, pages = App(), App()
    replicas.let_go.set()
    assert await ask(Front(replicas=replicas, pages=pages), scope(path)) == 200
    assert (replicas.answered, pages.answered) == (1, 0)


async def test_pages_do_not_serve_replicas():
    assert await ask(Front(replicas=None, pages=App()), scope("/v1/heartbeat")) == 404


async def test_each_visitor_has_a_few_requests_at_once():
    pages = App()
    turns = Turns(pages, at_once=2, line_max=3)
    greedy = [asyncio.create_task(ask(turns, scope(cookie="keygauge_session=a"))) for _ in range(7)]
    other = asyncio.create_task(ask(turns, scope(cookie="keygauge_session=b")))
    await settled()
    assert pages.inside == 3
    pages.let_go.set()
    assert sorted(await asyncio.gather(*greedy)) == [200] * 5 + [429] * 2
    assert await other == 200
    assert not turns._visitors


async def test_requests_that_wait_too_long_are_refused():
    pages = App()
    turns = Turns(pages, at_once=1, turn_s=0.01)
    first = asyncio.create_task(ask(turns, scope(authorization="Bearer x")))
    await asyncio.sleep(0)
    assert await ask(turns, scope(authorization="Bearer x")) == 429
    pages.let_go.set()
    assert await first == 200


@pytest.mark.parametrize("client", ["192.0.2.1", "2001:db8::{:x}"])
async def test_invented_sessions_do_not_raise_the_bound_of_an_address(client):
    pages = App()
    turns = Turns(pages, of_address_max=5)
    many = [
        asyncio.create_task(ask(turns, scope(client=client.format(number), cookie=f"keygauge_session={number}")))
        for number in range(8)
    ]
    other = asyncio.create_task(ask(turns, scope(client="198.51.100.1", cookie="keygauge_session=b")))
    await settled()
    pages.let_go.set()
    assert sorted(await asyncio.gather(*many)) == [200] * 5 + [429] * 3
    assert await other == 200
    assert not turns._of_address


async def test_addresses_behind_proxies_are_distinguished():
    pages = App()
    turns = Turns(pages, proxies=1, at_once=1)
    tasks = [
        asyncio.create_task(ask(turns, scope(x_forwarded_for=f"203.0.113.9, 198.51.100.{number}")))
        for number in range(3)
    ]
    await settled()
    assert pages.inside == 3
    pages.let_go.set()
    assert await asyncio.gather(*tasks) == [200] * 3
