"""Limits on concurrent requests with the middleware and a real key service."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute

from keygauge.clock import MS, SECOND
from keygauge.limits.concurrency import ConcurrencyLease, ConcurrencyPool
from keygauge.limits.limit import Limit
from keygauge.limits.waiter import Waiter

AT_ONCE = {"name": "at_once", "unit": "concurrent", "amount": 2}


class Host:
    """An app whose calls last until the test ends them."""

    def __init__(self):
        self.gates = []
        paths = {"/slow": self.slow, "/stream": self.stream, "/fail": self.fail, "/fast": self.fast}
        routes = [Route(path, endpoint) for path, endpoint in paths.items()]
        self.app = Starlette(routes=[*routes, WebSocketRoute("/live", self.live)])

    async def wait(self):
        self.gates.append(asyncio.Event())
        await self.gates[-1].wait()

    async def slow(self, _):
        await self.wait()
        return PlainTextResponse("done")

    async def stream(self, _):
        async def body():
            yield b"data: 1\n\n"
            await self.wait()
            yield b"data: 2\n\n"

        return StreamingResponse(body(), media_type="text/event-stream")

    async def fail(self, _):
        raise RuntimeError("no")

    async def fast(self, _):
        return PlainTextResponse("done")

    async def live(self, socket):
        await socket.accept()
        await socket.receive_text()
        await socket.close()

    async def busy(self, calls):
        while len(self.gates) < calls:
            await asyncio.sleep(0.01)

    async def occupy(self, call, count):
        """Start a number of calls; repeat calls that were refused because the machine stalled."""
        calls = [asyncio.create_task(call()) for _ in range(count)]
        while len(self.gates) < count:
            calls = [asyncio.create_task(call()) if one.done() else one for one in calls]
            await asyncio.sleep(0.01)
        return calls


def test_a_slot_is_kept_for_the_waiting_call():
    """A heartbeat may be sent before that call runs again; what the call leaves goes back with the next one."""
    slots = ConcurrencyPool(Limit("1:a", "at_once", "concurrent", 3, None, None))
    slots.small = True
    waiter = Waiter(0)
    slots.enter(waiter, 1)
    slots.grant(ConcurrencyLease("7", 1, 10 * SECOND, now_ns=0), 0, reset_ns=0)
    assert slots.give_back(MS) == []
    slots.leave(waiter, MS)
    assert slots.give_back(2 * MS) == [{"lease": "7", "unspent": 1}]


@pytest.mark.parametrize("path", ["/slow", "/stream"])
async def test_calls_hold_their_slots_until_they_end(service, guard, visit, path):
    _, token = service.key(AT_ONCE)
    host = Host()
    app = guard(host.app)
    calls = await host.occupy(lambda: visit(app, token, path), 2)
    answer = await visit(app, token, "/fast")
    assert (answer.status_code, answer.json()["code"], answer.json()["limit"]) == (
        429,
        "concurrency_limited",
        "at_once",
    )
    assert answer.headers["retry-after"] == "1"
    assert answer.headers["ratelimit-policy"] == '"at_once";q=2;qu="concurrent-requests"'
    host.gates[0].set()
    done, _ = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
    assert done.pop().result().status_code == 200
    assert (await visit(app, token, "/fast")).status_code == 200
    host.gates[1].set()
    await asyncio.gather(*calls)


async def test_a_call_beyond_the_limit_is_refused_within_the_usual_wait(service, guard, visit):
    _, token = service.key(AT_ONCE)
    host = Host()
    app = guard(host.app, wait_s=0.25)
    calls = await host.occupy(lambda: visit(app, token, "/slow"), 2)
    codes = []
    while "concurrency_limited" not in codes and len(codes) < 3:  # more attempts in case the machine stalls
        codes.append((await visit(app, token, "/fast")).json()["code"])
        await asyncio.sleep(1.1)
    assert codes[-1] == "concurrency_limited"
    for authorizer in host.gates:
        authorizer.set()
    await asyncio.gather(*calls)


async def test_failed_and_aborted_calls_give_their_slots_back(service, guard, visit):
    _, token = service.key(AT_ONCE)
    host = Host()
    app = guard(host.app)
    for _ in range(5):
        assert (await visit(app, token, "/fail")).status_code == 500
    for number in range(5):
        call = asyncio.create_task(visit(app, token, "/slow"))
        await asyncio.wait_for(host.busy(number + 1), 10)
        call.cancel()
        await asyncio.wait([call])
    assert (await visit(app, token, "/fast")).status_code == 200


async def test_a_websocket_holds_its_slot_until_it_ends(service, guard, visit):
    _, token = service.key({**AT_ONCE, "amount": 1})
    app = guard(Host().app)
    to_app, sent = asyncio.Queue(), []
    scope = {"type": "websocket", "path": "/live", "raw_path": b"/live", "query_string": b"", "subprotocols": []}
    scope |= {"headers": [(b"authorization", f"Bearer {token}".encode())], "client": ("192.0.2.1", 1), "extensions": {}}

    async def send(message):
        sent.append(message["type"])

    to_app.put_nowait({"type": "websocket.connect"})
    session = asyncio.create_task(app(scope, to_app.get, send))
    while "websocket.accept" not in sent:
        await asyncio.sleep(0.01)
    assert (await visit(app, token, "/fast")).json()["code"] == "concurrency_limited"
    to_app.put_nowait({"type": "websocket.receive", "text": "end"})
    await asyncio.wait_for(session, 10)
    assert (await visit(app, token, "/fast")).status_code == 200


async def test_a_single_sequential_client_is_never_refused(service, guard, visit):
    """When it calls again, its slot may still be on its way back from another process."""
    _, token = service.key({**AT_ONCE, "amount": 1})
    host = Host()
    apps = [guard(host.app) for _ in range(3)]
    statuses = [(await visit(apps[number % 3], token, "/fast")).status_code for number in range(60)]
    assert statuses == [200] * 60


async def test_a_refused_call_takes_no_slot_and_no_other_units(service, guard, visit):
    _, token = service.key({**AT_ONCE, "amount": 1}, {"name": "daily", "unit": "request", "amount": 3, "period": "day"})
    host = Host()
    app = guard(host.app)
    (call,) = await host.occupy(lambda: visit(app, token, "/slow"), 1)
    for _ in range(3):
        assert (await visit(app, token, "/fast")).json()["code"] == "concurrency_limited"
    host.gates[0].set()
    await call
    codes = [(await visit(app, token, "/fast")).status_code for _ in range(3)]
    assert codes == [200, 200, 429]


async def test_a_dry_run_limit_refuses_nobody(service, guard, visit):
    _, token = service.key({**AT_ONCE, "amount": 1, "dry_run": True})
    host = Host()
    app = guard(host.app)
    calls = await host.occupy(lambda: visit(app, token, "/slow"), 3)
    deadline = time.monotonic() + 100
    seen = set()
    while ("would_limit", "at_once") not in seen and time.monotonic() < deadline:
        assert (await visit(app, token, "/fast")).status_code == 200
        seen = {(cell.series.outcome, cell.series.limit) for cell in app._process.runtime.aggregator.cells()}
    assert ("would_limit", "at_once") in seen
    for authorizer in host.gates:
        authorizer.set()
    await asyncio.gather(*calls)


async def test_slots_outlast_their_first_lease(service, guard, visit):
    """A call longer than a lease's life keeps its slot, as heartbeats renew it."""
    _, token = service.key({**AT_ONCE, "amount": 1})
    host = Host()
    app = guard(host.app)
    (call,) = await host.occupy(lambda: visit(app, token, "/slow"), 1)
    await asyncio.sleep(11)
    assert (await visit(app, token, "/fast")).json()["code"] == "concurrency_limited"
    host.gates[0].set()
    await call
    assert (await visit(app, token, "/fast")).status_code == 200


def test_wsgi_calls_hold_their_slots_until_the_answer_is_closed(service, guard_wsgi):
    _, token = service.key({**AT_ONCE, "amount": 1})
    begun, go_on = Event(), Event()

    def app(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        if environ["PATH_INFO"] == "/fast":
            return [b"done"]

        def body():
            begun.set()
            go_on.wait(100)
            yield b"done"

        return body()

    guarded = guard_wsgi(app)

    def visit(path):
        transport = httpx.WSGITransport(guarded, remote_addr="192.0.2.1")
        with httpx.Client(transport=transport, base_url="http://api") as client:
            return client.get(path, headers={"authorization": f"Bearer {token}"})

    with ThreadPoolExecutor() as pool:
        slow = pool.submit(visit, "/slow")
        assert begun.wait(100)
        assert visit("/fast").json()["code"] == "concurrency_limited"
        go_on.set()
        assert slow.result(10).status_code == 200
    assert visit("/fast").status_code == 200
