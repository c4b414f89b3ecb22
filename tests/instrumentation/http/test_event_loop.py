"""The ASGI middleware on both event loops."""

import asyncio
from concurrent.futures import Future
from threading import Timer

import pytest
import trio
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from keygauge.clock import SECOND, now_ns
from keygauge.http import event_loop
from keygauge.limits.waiter import Wait

LOOPS = {"asyncio": lambda do: asyncio.run(do()), "trio": trio.run}


@pytest.fixture(params=LOOPS)
def run(request):
    return LOOPS[request.param]


async def hello(request):
    return PlainTextResponse("hello")


def test_calls_are_answered_and_counted(service, guard, visit, run):
    app = guard(Starlette(routes=[Route("/hello", hello)]))
    _, token = service.key({"name": "rpm", "unit": "request", "amount": 2, "window_s": 60})

    async def visits():
        return [(await visit(app, token)).status_code for _ in range(3)]  # the first waits for the key service

    assert run(visits) == [200, 200, 429]
    assert len(service.events(3)) == 3


def test_soon_waits_only_until_the_result_arrives(run):
    async def ready():
        return "came"

    async def never():
        await (asyncio.Event() if run is LOOPS["asyncio"] else trio.Event()).wait()

    async def both():
        return await event_loop.soon(ready(), 30), await event_loop.soon(never(), 0.01)

    assert run(both) == ("came", None)


def test_lifespan_starts_and_stops(guard, run):
    inbox, sent = [{"type": "lifespan.shutdown"}, {"type": "lifespan.startup"}], []
    app = guard(Starlette())

    async def receive():
        return inbox.pop()

    async def send(message):
        sent.append((message["type"], app._process.runtime is not None))

    async def live():
        await app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)

    run(live)
    assert sent == [("lifespan.startup.complete", True), ("lifespan.shutdown.complete", False)]


@pytest.mark.parametrize(("ends_s", "wait_s", "told"), [(0.0, 5, True), (0.02, 5, True), (None, 0.01, False)])
def test_future_completed_by_another_thread_is_awaited(run, ends_s, wait_s, told):
    coming = Future()
    if ends_s is not None:
        Timer(ends_s, coming.set_result, [True]).start()

    async def wait():
        return await event_loop.has_ended(coming, now_ns() + int(wait_s * SECOND))

    assert run(wait) is told
    if ends_s is None:
        coming.set_result(True)  # after the wait has ended


def test_sleep_ends_on_time_and_not_before(run):
    moment = now_ns() + SECOND // 100

    async def sleep():
        await event_loop.end_of(Wait(Future(), moment), moment + SECOND)
        return now_ns()

    assert run(sleep) >= moment


def test_running_loop_is_detected(run):
    async def ask():
        return event_loop.is_running()

    assert (run(ask), event_loop.is_running()) == (True, False)
