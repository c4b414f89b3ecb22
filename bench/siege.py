"""Whether strangers and visitors can stop the APIs: a key service under attack, and a metered app that needs it.

Against one `keygauge serve` with a ledger of a million calls, or ten million with BENCH_LONG=1 (which take half an hour
to fill on a busy machine: BENCH_STATE keeps them), or BENCH_EVENTS, for BENCH_SECONDS (20): 200 silent sockets
(nothing, half a header, half a body), reopened when they are dropped; 20 wrong passwords per second; 16 parallel
reloads of the usage page by one session. Meanwhile, a metered app is called 50 times per second with a known key and
twice per second with one that it has not seen before, and a replica sends heartbeats. `refused_warm` and `refused_cold`
count all answers but 200; `pages_p95_ms` is for the reloads that were answered, including queueing.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import socket
import statistics
import time
import urllib.parse
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from urllib.parse import urlsplit
from uuid import uuid4

from bench import busy
from bench.service import ANSWER, PEPPER, TOKEN, Message, lifespan, make_scope, serve
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from keygauge.asgi import KeyGaugeMiddleware
from keygauge.sync.client import ServiceClient
from keygauge_keyservice import database
from keygauge_keyservice.accounts import accounts, members, plans
from keygauge_keyservice.database import Connection
from keygauge_keyservice.keys import keys
from keygauge_keyservice.limits.definitions import Limit
from keygauge_keyservice.secret import Peppers

EVENTS = int(os.environ.get("BENCH_EVENTS") or (10_000_000 if os.environ.get("BENCH_LONG") == "1" else 1_000_000))
SECONDS = float(os.environ.get("BENCH_SECONDS", "20"))
SILENT = 200
RELOADS = 16
EMAIL, PASSWORD = "owner@busy.example", "a password of twenty"
BEGINNINGS = (b"", b"GET /healthz HTTP/1.1\r\nHost: x", b"POST /v1/heartbeat HTTP/1.1\r\nContent-Length: 99\r\n\r\n{")
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class Siege:
    """The anonymous clients and the visitor, each in a thread."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._address = (str(parts.hostname), int(parts.port or 80))
        self._end = Event()
        self._threads: list[Thread] = []
        self.pages_ms: list[float] = []
        self.dropped = 0

    def begin(self) -> None:
        cookie = self._sign_in()
        for target in (self._keep_silent, self._guess, *[lambda: self._reload(cookie)] * RELOADS):
            self._threads.append(Thread(target=target, daemon=True))
            self._threads[-1].start()

    def end(self) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join(30)

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(*self._address, timeout=30)

    def _sign_in(self) -> str:
        connection = self._connect()
        body = urllib.parse.urlencode({"email": EMAIL, "password": PASSWORD})
        connection.request("POST", "/sign-in", body, FORM)
        answer = connection.getresponse()
        assert answer.status == 303, answer.status
        return str(answer.headers["Set-Cookie"]).partition(";")[0]

    def _keep_silent(self) -> None:
        clients: list[socket.socket] = []
        while not self._end.wait(0.1):
            gone = [client for client in clients if _is_gone(client)]
            self.dropped += len(gone)
            clients = [client for client in clients if client not in gone]
            while len(clients) < SILENT:
                clients.append(socket.create_connection(self._address, timeout=10))
                clients[-1].sendall(BEGINNINGS[len(clients) % len(BEGINNINGS)])
                clients[-1].settimeout(0)
        for client in clients:
            client.close()

    def _guess(self) -> None:
        number = 0
        while not self._end.wait(0.05):
            number += 1
            Thread(target=self._guess_once, args=(number,), daemon=True).start()

    def _guess_once(self, number: int) -> None:
        body = urllib.parse.urlencode({"email": f"{number}@example.com", "password": "a wrong password"})
        connection = self._connect()
        try:
            connection.request("POST", "/sign-in", body, FORM)
            connection.getresponse().read()
        except OSError:
            pass
        finally:
            connection.close()

    def _reload(self, cookie: str) -> None:
        connection = self._connect()
        while not self._end.is_set():
            started = time.perf_counter()
            try:
                connection.request("GET", "/usage?range=1y", headers={"Cookie": cookie})
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException):
                connection.close()
                continue
            if answer.status == 200:
                self.pages_ms.append((time.perf_counter() - started) * 1e3)


def _is_gone(client: socket.socket) -> bool:
    try:
        client.recv(1000)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def beat(url: str, until: float) -> list[float]:
    """Send heartbeats like a replica, and return the duration of each in milliseconds."""
    client, took = ServiceClient(url, TOKEN, timeout_s=30), []
    message = {"replica": uuid4().hex, "service": "bench", "host": "bench", "version": "0", "mode": "enforce"}
    while time.monotonic() < until:
        started = time.perf_counter()
        answer = client.post("/v1/heartbeat", json.dumps(message).encode(), "application/json")
        took.append((time.perf_counter() - started) * 1e3)
        message["cursor"] = answer["cursor"]
        time.sleep(0.1)
    client.close()
    return took


async def call(app: Callable[..., object], token: str) -> int:
    """Call the metered app once and return the status."""
    statuses: list[int] = []
    told = False

    async def receive() -> Message:
        nonlocal told
        if told:
            await asyncio.sleep(3600)
        told = True
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    await app(make_scope(token), receive, send)  # type: ignore[misc]
    return statuses[0]


async def be_called(url: str, directory: Path, warm: str, cold: list[str]) -> tuple[list[int], list[int]]:
    """Call a metered app with a known key and with unknown ones; return the statuses."""

    async def answer(_: Request) -> Response:
        return Response(ANSWER, media_type="application/json")

    inner = Starlette(routes=[Route("/v1/chat/completions", answer, methods=["POST"])])
    app = KeyGaugeMiddleware(
        inner, service_url=url, service_token=TOKEN, mode="enforce", spool_dir=str(directory), wait_s=5
    )
    calls: dict[str, list[asyncio.Task[int]]] = {"warm": [], "cold": []}
    async with lifespan(app):
        await call(app, warm)
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            calls["warm"].append(asyncio.create_task(call(app, warm)))
            if len(calls["warm"]) % 25 == 0 and cold:
                calls["cold"].append(asyncio.create_task(call(app, cold.pop())))
            await asyncio.sleep(0.02)
        warm_statuses, cold_statuses = [await asyncio.gather(*calls[name]) for name in ("warm", "cold")]
    return list(warm_statuses), list(cold_statuses)


def make_keys(connection: Connection, count: int) -> list[str]:
    peppers = Peppers.parse(PEPPER)
    connection.autocommit = True
    if connection.execute("SELECT FROM account WHERE name = 'Siege'").fetchone() is None:
        limits = [Limit(name="rpm", unit="request", amount=1_000_000, window_s=60)]
        plans.create(connection, plan_id="siege", name="Siege", limits=limits, actor="bench")
        accounts.create(connection, name="Siege", plan_id="siege", actor="bench")
        members.create(connection, account_id="busy", email=EMAIL, password=PASSWORD, actor="bench")
    row = connection.execute("SELECT id FROM account WHERE name = 'Siege'").fetchone()
    assert row is not None
    return [
        keys.create(connection, peppers=peppers, account_id=row["id"], name="siege", actor="bench")[1]
        for _ in range(count)
    ]


def main() -> None:
    with ExitStack() as stack:
        server = stack.enter_context(busy.serve())
        filled = busy.ready(server, "siege", EVENTS)
        with database.connect(filled.url) as connection:
            warm, *cold = make_keys(connection, 2 + int(SECONDS * 2))
        url = stack.enter_context(serve(filled.url))
        directory = Path(stack.enter_context(TemporaryDirectory()))
        siege = Siege(url)
        siege.begin()
        beats: list[float] = []
        prober = Thread(target=lambda: beats.extend(beat(url, time.monotonic() + SECONDS)))
        prober.start()
        warm_statuses, cold_statuses = asyncio.run(be_called(url, directory, warm, cold))
        prober.join()
        siege.end()
    result = {
        "silent_sockets": SILENT,
        "events": EVENTS,
        "seconds": SECONDS,
        "warm": len(warm_statuses),
        "refused_warm": sum(status != 200 for status in warm_statuses),
        "cold": len(cold_statuses),
        "refused_cold": sum(status != 200 for status in cold_statuses),
        "heartbeats": len(beats),
        "heartbeat_p50_ms": round(statistics.median(beats), 1),
        "heartbeat_p99_ms": round(statistics.quantiles(beats, n=100)[-1], 1),
        "pages": len(siege.pages_ms),
        "pages_p95_ms": round(statistics.quantiles(siege.pages_ms, n=20)[-1], 1) if len(siege.pages_ms) > 1 else None,
        "silent_dropped": siege.dropped,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
