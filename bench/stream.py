"""What a stream pays for being metered, for each chunk and up to the first, and what a WSGI request pays.

Microseconds of CPU of the thread that serves. In each of many short rounds every subject answers the same requests, in
an order that turns; what a subject adds is told against the bare app of the same round, as the median of the rounds. A
chunk's time is told by streams of two lengths. KeyGauge does all it does in service: a key service with PostgreSQL in
processes of its own, a key with two limits, token usage read from the answer, events on disk and shipped, metrics to
OpenTelemetry's SDK. Contrib makes metrics only, no spans: its cheapest setting.
"""

from __future__ import annotations

import asyncio
import io
import json
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.service import ANSWER, PATH, TOKEN, Message, count_events, lifespan, make_key, make_scope, serve, wait_until
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.instrumentation.wsgi import OpenTelemetryMiddleware as WsgiOpenTelemetryMiddleware
from opentelemetry.metrics import set_meter_provider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.trace import NoOpTracerProvider
from prometheus_client import CollectorRegistry
from rich.console import Console
from rich.progress import Progress

from keygauge import asgi, wsgi
from keygauge_keyservice import database, embedded

ROUNDS = 120
WARM_UP = 10  # rounds that do not count
STREAMS = 8  # of each length in each round
SHORT, LONG = 20, 220  # chunks
CALLS = 60  # of a WSGI app in each round

App = Callable[..., Any]


def make_chunks(count: int) -> list[bytes]:
    """Make a stream of OpenAI's with its usage at the end."""
    head = {"id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT", "object": "chat.completion.chunk", "created": 1741569952}
    head |= {"model": "gpt-4o-mini-2024-07-18"}
    word = {**head, "choices": [{"index": 0, "delta": {"content": " word"}, "finish_reason": None}], "usage": None}
    last = {**head, "choices": [], "usage": {"prompt_tokens": 19, "completion_tokens": count, "total_tokens": 0}}
    return [b"data: %b\n\n" % json.dumps(part).encode() for part in [word] * (count - 2) + [last]] + [
        b"data: [DONE]\n\n"
    ]


CHUNKS = {count: make_chunks(count) for count in (SHORT, LONG)}


async def stream(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[..., Awaitable[None]]
) -> None:
    """Stream as many chunks as the query says, as Starlette does it."""
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for chunk in CHUNKS[int(scope["query_string"])]:
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def answer(_: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Answer with 1 kB of JSON, over WSGI."""
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(ANSWER)))])
    return [ANSWER]


@dataclass
class Subject:
    """One middleware around both apps, and its times in each round, in microseconds."""

    asgi: App
    wsgi: App
    sent: int = 0
    stream_us: dict[int, list[float]] = field(default_factory=lambda: {SHORT: [], LONG: []})
    first_us: list[float] = field(default_factory=list)
    wsgi_us: list[float] = field(default_factory=list)

    async def run(self, scope: Message, environ: dict[str, Any]) -> None:
        for chunks in (SHORT, LONG):
            await self._stream({**scope, "query_string": b"%d" % chunks}, chunks)
        self._call(environ)
        self.sent += 2 * STREAMS + CALLS

    async def _stream(self, scope: Message, chunks: int) -> None:
        first_s = began = 0.0
        passed = 0

        async def receive() -> Message:
            return {"type": "http.request", "body": b"{}", "more_body": False}

        async def send(_: Message) -> None:
            nonlocal passed, first_s
            passed += 1
            if passed == 2:  # the start, then the first chunk
                first_s += time.thread_time() - began

        started = time.thread_time()
        for _ in range(STREAMS):
            passed, began = 0, time.thread_time()
            await self.asgi(dict(scope), receive, send)
            if passed != chunks + 2:
                raise SystemExit(f"{self.asgi} passed {passed} messages of {chunks + 2}")
        self.stream_us[chunks].append((time.thread_time() - started) / STREAMS * 1e6)
        if chunks == SHORT:
            self.first_us.append(first_s / STREAMS * 1e6)

    def _call(self, environ: dict[str, Any]) -> None:
        statuses: list[str] = []

        def start_response(status: str, *_: object) -> None:
            statuses.append(status)

        started = time.thread_time()
        for _ in range(CALLS):
            chunks = self.wsgi(dict(environ), start_response)
            for _chunk in chunks:
                pass
            if hasattr(chunks, "close"):
                chunks.close()
        self.wsgi_us.append((time.thread_time() - started) / CALLS * 1e6)
        if statuses != ["200 OK"] * CALLS:
            raise SystemExit(f"{self.wsgi} answered {sorted(set(statuses))}, {len(statuses)} times")


def make_subjects(service_url: str, directory: Path) -> dict[str, Subject]:
    set_meter_provider(MeterProvider([PrometheusMetricReader(registry=CollectorRegistry())]))
    contrib: dict[str, Any] = {
        "meter_provider": MeterProvider([PrometheusMetricReader(registry=CollectorRegistry())]),
        "tracer_provider": NoOpTracerProvider(),
    }
    ours: dict[str, Any] = {"service_url": service_url, "service_token": TOKEN, "wait_s": 5}
    return {
        "bare": Subject(stream, answer),
        "keygauge": Subject(
            asgi.KeyGaugeMiddleware(stream, spool_dir=directory / "asgi", **ours),
            wsgi.KeyGaugeMiddleware(answer, spool_dir=directory / "wsgi", **ours),
        ),
        "contrib": Subject(
            OpenTelemetryMiddleware(stream, exclude_spans=["send", "receive"], **contrib),
            WsgiOpenTelemetryMiddleware(answer, **contrib),
        ),
    }


def make_environ(token: str) -> dict[str, Any]:
    return {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": PATH,
        "QUERY_STRING": "",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": "2",
        "HTTP_HOST": "api.example.com",
        "HTTP_USER_AGENT": "OpenAI/Python 2.8.0",
        "HTTP_AUTHORIZATION": f"Bearer {token}",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(b"{}"),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }


async def measure(subjects: dict[str, Subject], token: str, ledger_events: Callable[[], int]) -> None:
    """Run all rounds, and see that KeyGauge counted every call."""
    scope, environ = make_scope(token), make_environ(token)
    order = list(subjects.values())
    guard = subjects["keygauge"]
    with Progress(console=Console(stderr=True), auto_refresh=False, transient=True) as progress:
        task = progress.add_task("rounds", total=WARM_UP + ROUNDS)
        async with lifespan(guard.asgi):
            for _ in range(WARM_UP + ROUNDS):
                for subject in order:
                    await subject.run(scope, environ)
                order.append(order.pop(0))
                progress.advance(task)
                progress.refresh()
            wait_until(lambda: ledger_events() == guard.sent, "every request is in the ledger")
    guard.wsgi._process.stop()  # noqa: SLF001 - WSGI has no end, and its directory goes now


def summarise(subjects: dict[str, Subject]) -> dict[str, float]:
    def added(name: str, times: Callable[[Subject], list[float]]) -> float:
        pairs = zip(times(subjects[name]), times(subjects["bare"]), strict=True)
        return statistics.median([mine - bare for mine, bare in pairs][WARM_UP:])

    def chunk_us(subject: Subject) -> list[float]:
        pairs = zip(subject.stream_us[LONG], subject.stream_us[SHORT], strict=True)
        return [(long_us - short_us) / (LONG - SHORT) for long_us, short_us in pairs]

    result = {
        "added_us_per_chunk": added("keygauge", chunk_us),
        "contrib_us_per_chunk": added("contrib", chunk_us),
        "added_ttfb_us": added("keygauge", lambda subject: subject.first_us),
        "contrib_ttfb_us": added("contrib", lambda subject: subject.first_us),
        "wsgi_added_us": added("keygauge", lambda subject: subject.wsgi_us),
        "contrib_wsgi_added_us": added("contrib", lambda subject: subject.wsgi_us),
    }
    return result | {"wsgi_ratio_to_contrib": result["wsgi_added_us"] / result["contrib_wsgi_added_us"]}


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        database_url = embedded.start(directory / "postgresql", delete=True).get_uri()
        with database.connect(database_url) as connection:
            token = make_key(connection)
            with serve(database_url) as service_url:
                subjects = make_subjects(service_url, directory)
                asyncio.run(measure(subjects, token, lambda: count_events(connection)))
    result = summarise(subjects)
    for figure, value in result.items():
        print(f"{figure:24}{value:8.2f}")
    print(json.dumps({figure: round(value, 3) for figure, value in result.items()}))


if __name__ == "__main__":
    main()
