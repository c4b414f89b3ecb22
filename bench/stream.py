"""The cost of metering a stream, per chunk and until the first, and the cost per WSGI request.

CPU microseconds of the event loop's thread. In each of many short rounds, every subject answers the same streams, in
rotating order; the cost of a subject is the difference to the bare app in the same round, as the median of the rounds.
A chunk's time is derived from streams of two lengths. KeyGauge runs as in production: a key service with PostgreSQL in
their own processes, a key with two limits, token usage read from the answer, events on disk and shipped, metrics to
OpenTelemetry's SDK. Contrib records metrics only, no spans: its cheapest setting. WSGI is `bench.wsgi`, in its own
process, so that it has no work left over from streams.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from bench.service import TOKEN, Message, Service, lifespan, make_scope, run_service, wait_until
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.metrics import set_meter_provider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.trace import NoOpTracerProvider
from prometheus_client import CollectorRegistry
from rich.console import Console
from rich.progress import Progress

from keygauge.asgi import KeyGaugeMiddleware

ROUNDS = 120
WARM_UP = 10  # rounds that do not count
STREAMS = 8  # per length and round
SHORT, LONG = 20, 220  # chunks

App = Callable[..., Any]


def make_chunks(count: int) -> list[bytes]:
    """Create an OpenAI stream with its usage at the end."""
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
    """Stream the number of chunks in the query, like Starlette."""
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


@dataclass
class Subject:
    """One middleware around the app, and its times in each round, in microseconds."""

    app: App
    sent: int = 0
    stream_us: dict[int, list[float]] = field(default_factory=lambda: {SHORT: [], LONG: []})
    first_us: list[float] = field(default_factory=list)

    async def run(self, scope: Message) -> None:
        for chunks in (SHORT, LONG):
            await self._stream({**scope, "query_string": b"%d" % chunks}, chunks)
        self.sent += 2 * STREAMS

    async def _stream(self, scope: Message, chunks: int) -> None:
        first_s = began = 0.0
        passed = 0

        async def receive() -> Message:
            return {"type": "http.request", "body": b"{}", "more_body": False}

        async def send(_: Message) -> None:
            nonlocal passed, first_s
            passed += 1
            if passed == 2:  # the start and the first chunk
                first_s += time.thread_time() - began

        started = time.thread_time()
        for _ in range(STREAMS):
            passed, began = 0, time.thread_time()
            await self.app(dict(scope), receive, send)
            if passed != chunks + 2:
                raise SystemExit(f"{self.app} passed {passed} messages of {chunks + 2}")
        self.stream_us[chunks].append((time.thread_time() - started) / STREAMS * 1e6)
        if chunks == SHORT:
            self.first_us.append(first_s / STREAMS * 1e6)


def make_subjects(service: Service) -> dict[str, Subject]:
    set_meter_provider(MeterProvider([PrometheusMetricReader(registry=CollectorRegistry())]))
    guard = KeyGaugeMiddleware(
        stream, service_url=service.url, service_token=TOKEN, spool_dir=service.directory / "spool", wait_s=5
    )
    contrib = OpenTelemetryMiddleware(
        stream,
        meter_provider=MeterProvider([PrometheusMetricReader(registry=CollectorRegistry())]),
        tracer_provider=NoOpTracerProvider(),
        exclude_spans=["send", "receive"],
    )
    return {"bare": Subject(stream), "keygauge": Subject(guard), "contrib": Subject(contrib)}


async def measure(subjects: dict[str, Subject], service: Service) -> None:
    """Run all rounds, and check that KeyGauge counted every call."""
    scope = make_scope(service.token)
    order = list(subjects.values())
    guard = subjects["keygauge"]
    with Progress(console=Console(stderr=True), auto_refresh=False, transient=True) as progress:
        task = progress.add_task("rounds", total=WARM_UP + ROUNDS)
        async with lifespan(guard.app):
            for _ in range(WARM_UP + ROUNDS):
                for subject in order:
                    await subject.run(scope)
                order.append(order.pop(0))
                progress.advance(task)
                progress.refresh()
            wait_until(lambda: service.count_events() == guard.sent, "every request is in the ledger")


def summarise(subjects: dict[str, Subject]) -> dict[str, float]:
    def added(name: str, times: Callable[[Subject], list[float]]) -> float:
        pairs = zip(times(subjects[name]), times(subjects["bare"]), strict=True)
        return statistics.median([mine - bare for mine, bare in pairs][WARM_UP:])

    def chunk_us(subject: Subject) -> list[float]:
        pairs = zip(subject.stream_us[LONG], subject.stream_us[SHORT], strict=True)
        return [(long_us - short_us) / (LONG - SHORT) for long_us, short_us in pairs]

    return {
        "added_us_per_chunk": added("keygauge", chunk_us),
        "contrib_us_per_chunk": added("contrib", chunk_us),
        "added_ttfb_us": added("keygauge", lambda subject: subject.first_us),
        "contrib_ttfb_us": added("contrib", lambda subject: subject.first_us),
    }


def measure_wsgi() -> dict[str, float]:
    command = [sys.executable, "-m", "bench.wsgi"]
    output = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    return dict(json.loads(output.splitlines()[-1]))


def main() -> None:
    with run_service() as service:
        subjects = make_subjects(service)
        asyncio.run(measure(subjects, service))
    result = summarise(subjects) | measure_wsgi()
    for figure, value in result.items():
        print(f"{figure:24}{value:8.2f}")
    print(json.dumps({figure: round(value, 3) for figure, value in result.items()}))


if __name__ == "__main__":
    main()
