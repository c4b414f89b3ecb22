"""What a request pays for being metered and guarded: KeyGauge and its peers around the same app, in the same run.

Times are microseconds of CPU of the event loop's thread. In each of many short rounds every subject answers the same
requests, in an order that turns; what a subject adds is told against the bare app of the same round, as the median of
the rounds. KeyGauge does all it does in service: a key service with PostgreSQL in processes of its own, a key with two
limits, token usage read from the answer, events on disk and shipped, metrics to OpenTelemetry's SDK. slowapi has the
same two limits in memory and writes the headers that KeyGauge writes too; `slowapi_least_us` is one limit, no headers.
The metrics pages are collected between rounds, outside the times. What KeyGauge's threads do meanwhile in this process
(histograms, shipping, beats) is `keygauge_deferred_us`, CPU time a request.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator, MutableMapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.metrics import set_meter_provider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.trace import NoOpTracerProvider
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from rich.console import Console
from rich.progress import Progress
from slowapi import Limiter
from slowapi.middleware import SlowAPIASGIMiddleware
from slowapi.util import get_remote_address
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette_exporter import PrometheusMiddleware

from keygauge.asgi import KeyGaugeMiddleware
from keygauge_keyservice import accounts, database, embedded, keys, plans
from keygauge_keyservice.database import Connection
from keygauge_keyservice.secret import Peppers

ROUNDS = 160
WARM_UP = 10  # rounds that do not count
REQUESTS = 100  # of each subject in each round
TOKEN = "bench-service-token-0123456789"
PEPPER = "1:" + "11" * 32
PATH = "/v1/chat/completions"
LIMITS = [
    plans.Limit(name="rpm", unit="request", amount=100_000_000, window_s=60),
    plans.Limit(name="monthly_requests", unit="request", amount=10_000_000_000, period="month"),
]
ANSWER = json.dumps(
    {
        "id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT",
        "object": "chat.completion",
        "created": 1741569952,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "word " * 138}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 19, "completion_tokens": 139, "total_tokens": 158},
    }
).encode()

Message = MutableMapping[str, Any]


@dataclass
class Subject:
    """One app, and the time of a request in each round."""

    app: Starlette
    registry: CollectorRegistry | None = None  # of its metrics page
    sent: int = 0
    times_us: list[float] = field(default_factory=list)

    async def run(self, scope: Message) -> None:
        statuses: list[int] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": b"{}", "more_body": False}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        started = time.thread_time()
        for _ in range(REQUESTS):
            await self.app(dict(scope), receive, send)
        self.times_us.append((time.thread_time() - started) / REQUESTS * 1e6)
        self.sent += REQUESTS
        if statuses != [200] * REQUESTS:
            raise SystemExit(f"{self.app.user_middleware} answered {sorted(set(statuses))}, {len(statuses)} times")

    def collect(self) -> None:
        if self.registry is not None:
            generate_latest(self.registry)


def make_app(middleware: Any = None, **options: Any) -> Starlette:
    async def chat(_: Request) -> Response:
        return Response(ANSWER, media_type="application/json")

    app = Starlette(routes=[Route(PATH, chat, methods=["POST"])])
    if middleware is not None:
        app.add_middleware(middleware, **options)
    return app


def make_subjects(service_url: str, directory: Path) -> dict[str, Subject]:
    ours, contrib = CollectorRegistry(), CollectorRegistry()
    set_meter_provider(MeterProvider([PrometheusMetricReader(registry=ours)]))
    guard = make_app(
        KeyGaugeMiddleware, service_url=service_url, service_token=TOKEN, spool_dir=directory / "spool", wait_s=5
    )
    otel = make_app(
        OpenTelemetryMiddleware,
        meter_provider=MeterProvider([PrometheusMetricReader(registry=contrib)]),
        tracer_provider=NoOpTracerProvider(),
        exclude_spans=["send", "receive"],
    )
    return {
        "bare": Subject(make_app()),
        "keygauge": Subject(guard, ours),
        "contrib_otel": Subject(otel, contrib),
        "slowapi": Subject(make_slowapi("100000000/minute", "10000000000/month", headers=True)),
        "starlette_exporter": Subject(make_app(PrometheusMiddleware), REGISTRY),
        "slowapi_least": Subject(make_slowapi("100000000/minute", headers=False)),
    }


def make_slowapi(*limits: str, headers: bool) -> Starlette:
    app = make_app(SlowAPIASGIMiddleware)
    app.state.limiter = Limiter(key_func=get_remote_address, default_limits=[*limits], headers_enabled=headers)
    return app


def make_scope(token: str) -> Message:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "path": PATH,
        "raw_path": PATH.encode(),
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "client": ("127.0.0.1", 51234),
        "server": ("127.0.0.1", 8000),
        "headers": [
            (b"host", b"api.example.com"),
            (b"user-agent", b"OpenAI/Python 2.8.0"),
            (b"accept", b"application/json"),
            (b"content-type", b"application/json"),
            (b"content-length", b"2"),
            (b"authorization", b"Bearer " + token.encode()),
        ],
    }


@contextmanager
def serve(database_url: str) -> Iterator[str]:
    """Run a key service in a process of its own."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    environ = os.environ | {
        "KEYGAUGE_DATABASE_URL": database_url,
        "KEYGAUGE_SERVICE_TOKEN": TOKEN,
        "KEYGAUGE_ADMIN_TOKEN": TOKEN,
        "KEYGAUGE_PEPPER": PEPPER,
    }
    command = [str(Path(sys.executable).with_name("keygauge")), "serve", "--port", str(port)]
    service = subprocess.Popen(command, env=environ, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: is_ready(url), "the key service is ready")
        yield url
    finally:
        service.terminate()
        service.wait()


def is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz") as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def wait_until(is_so: Callable[[], bool], what: str, timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_so():
        if time.monotonic() > deadline:
            raise SystemExit(f"gave up after {timeout_s} s of waiting until {what}")
        time.sleep(0.05)


def make_key(connection: Connection) -> str:
    database.migrate(connection)
    plans.create(connection, plan_id="bench", name="Bench", limits=LIMITS, actor="bench")
    account = accounts.create(connection, name="Bench", plan_id="bench", actor="bench")
    peppers = Peppers.parse(PEPPER)
    return keys.create(connection, peppers=peppers, account_id=account.id, name="bench", actor="bench")[1]


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """Start an app as a server does, and stop it."""
    to_app: asyncio.Queue[Message] = asyncio.Queue()
    from_app: asyncio.Queue[Message] = asyncio.Queue()
    task = asyncio.create_task(app({"type": "lifespan", "asgi": {"version": "3.0"}}, to_app.get, from_app.put))
    await to_app.put({"type": "lifespan.startup"})
    await from_app.get()
    yield
    await to_app.put({"type": "lifespan.shutdown"})
    await task


async def measure(subjects: dict[str, Subject], token: str, ledger_events: Callable[[], int]) -> float:
    """Run all rounds; return the CPU time that KeyGauge's threads took for a request."""
    guard = subjects["keygauge"]
    order = list(subjects.values())
    scope = make_scope(token)
    deferred_s = 0.0
    with Progress(console=Console(stderr=True), auto_refresh=False, transient=True) as progress:
        task = progress.add_task("rounds", total=WARM_UP + ROUNDS)
        async with lifespan(guard.app):
            for _ in range(WARM_UP + ROUNDS):
                before = time.process_time() - time.thread_time()
                for subject in order:
                    await subject.run(scope)
                    subject.collect()
                order.append(order.pop(0))
                deferred_s += time.process_time() - time.thread_time() - before
                progress.advance(task)
                progress.refresh()
            before = time.process_time() - time.thread_time()
            wait_until(lambda: ledger_events() >= guard.sent, "every request is in the ledger")
            deferred_s += time.process_time() - time.thread_time() - before
            check(guard, ledger_events())  # while the app lives: its end collects the metrics once more
    return deferred_s / guard.sent * 1e6


def check(guard: Subject, ledger_events: int) -> None:
    """End the benchmark where KeyGauge did not do its work: then its time means nothing."""
    assert guard.registry is not None
    samples = [sample for metric in guard.registry.collect() for sample in metric.samples]
    counted = sum(sample.value for sample in samples if sample.name == "keygauge_requests_total")
    if not guard.sent == counted == ledger_events:
        raise SystemExit(f"sent {guard.sent} requests, counted {counted}, and the ledger has {ledger_events}")


def summarise(subjects: dict[str, Subject]) -> dict[str, float]:
    bare_us = subjects["bare"].times_us[WARM_UP:]
    result = {"bare_us": statistics.median(bare_us)}
    for name, subject in subjects.items():
        if name != "bare":
            added = [mine - bare for mine, bare in zip(subject.times_us[WARM_UP:], bare_us, strict=True)]
            result[f"{name}_us"] = statistics.median(added)
    result["ratio_to_contrib"] = result["keygauge_us"] / result["contrib_otel_us"]
    result["ratio_to_slowapi"] = result["keygauge_us"] / result["slowapi_us"]
    least_us = result.pop("slowapi_least_us")
    return result | {"slowapi_least_us": least_us, "ratio_to_slowapi_least": result["keygauge_us"] / least_us}


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        database_url = embedded.start(directory / "postgresql", delete=True).get_uri()
        with database.connect(database_url) as connection:
            token = make_key(connection)

            def ledger_events() -> int:
                with connection.transaction():  # left open, it would keep the ledger from making a partition
                    row = connection.execute("/* bench.count */ SELECT count(*) AS events FROM event").fetchone()
                return int(row["events"]) if row else 0

            with serve(database_url) as service_url:
                subjects = make_subjects(service_url, directory)
                deferred_us = asyncio.run(measure(subjects, token, ledger_events))
    result = summarise(subjects) | {"keygauge_deferred_us": deferred_us}
    for subject, value in result.items():
        print(f"{subject:24}{value:8.2f}")
    print(json.dumps({subject: round(value, 3) for subject, value in result.items()}))


if __name__ == "__main__":
    main()
