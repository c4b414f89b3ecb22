"""The cost per request of authorization and metering: KeyGauge and its peers around the same app, in the same run.

Times are CPU microseconds of the event loop's thread. In each of many short rounds, every subject answers the same
requests, in rotating order; the cost of a subject is the difference to the bare app in the same round, as the median of
the rounds. KeyGauge runs as in production: a key service with PostgreSQL in their own processes, a key with two
limits, token usage read from the answer, events on disk and shipped, metrics to OpenTelemetry's SDK. slowapi has the
same two limits in memory and writes the same headers; `slowapi_least_us` is one limit without headers.
`keygauge_tokens_us` is KeyGauge with a limit of tokens, for which it reads each request's body of 0.5 kB.
Metrics pages are collected between rounds, outside the measured times, and slowapi's threads are waited for.
KeyGauge's work off the request path in this process (histograms, here between rounds; shipping, heartbeats) is
`keygauge_deferred_us`, CPU time per request.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from bench.service import (
    ANSWER,
    PATH,
    TOKEN,
    Message,
    Service,
    drain,
    lifespan,
    make_key,
    make_scope,
    run_service,
    wait_until,
)
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
from keygauge_keyservice.limits.definitions import Limit

ROUNDS = 160
WARM_UP = 10  # rounds that do not count
REQUESTS = 100  # per subject and round
TOKENS = Limit(name="tpm", unit="token", amount=100_000_000_000, window_s=60)
MESSAGES = [{"role": "system", "content": "You answer in one word."}, {"role": "user", "content": "word " * 80}]
BODY = json.dumps({"model": "gpt-4o-mini", "messages": MESSAGES, "max_tokens": 150, "temperature": 0.2}).encode()


@dataclass
class Subject:
    """One app, and its time per request in each round."""

    app: Starlette
    registry: CollectorRegistry | None = None  # for its metrics page
    token: str = ""
    sent: int = 0
    times_us: list[float] = field(default_factory=list)

    async def run(self) -> None:
        statuses: list[int] = []
        scope = make_scope(self.token, length=len(BODY))

        async def receive() -> Message:
            return {"type": "http.request", "body": BODY, "more_body": False}

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


def make_subjects(service: Service) -> dict[str, Subject]:
    ours, contrib = CollectorRegistry(), CollectorRegistry()
    set_meter_provider(MeterProvider([PrometheusMetricReader(registry=ours)]))
    guard = make_app(
        KeyGaugeMiddleware,
        service_url=service.url,
        service_token=TOKEN,
        spool_dir=service.directory / "spool",
        wait_s=5,
    )
    otel = make_app(
        OpenTelemetryMiddleware,
        meter_provider=MeterProvider([PrometheusMetricReader(registry=contrib)]),
        tracer_provider=NoOpTracerProvider(),
        exclude_spans=["send", "receive"],
    )
    return {
        "bare": Subject(make_app()),
        "keygauge": Subject(guard, ours, service.token),
        "keygauge_tokens": Subject(guard, token=make_key(service.connection, "tokens", [TOKENS])),
        "contrib_otel": Subject(otel, contrib),
        "slowapi": Subject(make_slowapi("100000000/minute", "10000000000/month", headers=True)),
        "starlette_exporter": Subject(make_app(PrometheusMiddleware), REGISTRY),
        "slowapi_least": Subject(make_slowapi("100000000/minute", headers=False)),
    }


def make_slowapi(*limits: str, headers: bool) -> Starlette:
    app = make_app(SlowAPIASGIMiddleware)
    app.state.limiter = Limiter(key_func=get_remote_address, default_limits=[*limits], headers_enabled=headers)
    return app


async def measure(subjects: dict[str, Subject], service: Service) -> float:
    """Run all rounds; return the CPU time of KeyGauge's threads per request."""
    guard = subjects["keygauge"]
    order = list(subjects.values())
    deferred_s = drained_s = 0.0
    with Progress(console=Console(stderr=True), auto_refresh=False, transient=True) as progress:
        task = progress.add_task("rounds", total=WARM_UP + ROUNDS)
        async with lifespan(guard.app):
            for _ in range(WARM_UP + ROUNDS):
                before = time.process_time() - time.thread_time()
                for subject in order:
                    await subject.run()
                    if subject.app is guard.app:
                        drained_s += drain()
                    subject.collect()
                    join_timers()
                order.append(order.pop(0))
                deferred_s += time.process_time() - time.thread_time() - before
                progress.advance(task)
                progress.refresh()
            before = time.process_time() - time.thread_time()
            sent = sum(subject.sent for subject in order if subject.app is guard.app)
            wait_until(lambda: service.count_events() >= sent, "every request is in the ledger")
            deferred_s += time.process_time() - time.thread_time() - before
            check(guard, sent, service.count_events())  # before the app ends, which collects the metrics once more
    return (deferred_s + drained_s) / sent * 1e6


def join_timers() -> None:
    """Wait for the thread that slowapi's storage starts 10 ms later: it would be charged to the next subject."""
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            thread.join()


def check(guard: Subject, sent: int, ledger_events: int) -> None:
    """Abort the benchmark if KeyGauge did not do its work, because its time would be meaningless."""
    assert guard.registry is not None
    samples = [sample for metric in guard.registry.collect() for sample in metric.samples]
    counted = sum(sample.value for sample in samples if sample.name == "keygauge_requests_total")
    if not sent == counted == ledger_events:
        raise SystemExit(f"sent {sent} requests, counted {counted}, and the ledger has {ledger_events}")


def summarise(subjects: dict[str, Subject]) -> dict[str, float]:
    bare_us = subjects["bare"].times_us[WARM_UP:]
    result = {"bare_us": statistics.median(bare_us)}
    for name, subject in subjects.items():
        if name != "bare":
            added = [mine - bare for mine, bare in zip(subject.times_us[WARM_UP:], bare_us, strict=True)]
            result[f"{name}_us"] = statistics.median(added)
    result["ratio_to_contrib"] = result["keygauge_us"] / result["contrib_otel_us"]
    result["tokens_ratio_to_contrib"] = result["keygauge_tokens_us"] / result["contrib_otel_us"]
    result["ratio_to_slowapi"] = result["keygauge_us"] / result["slowapi_us"]
    least_us = result.pop("slowapi_least_us")
    return result | {"slowapi_least_us": least_us, "ratio_to_slowapi_least": result["keygauge_us"] / least_us}


def main() -> None:
    with run_service() as service:
        subjects = make_subjects(service)
        deferred_us = asyncio.run(measure(subjects, service))
    result = summarise(subjects) | {"keygauge_deferred_us": deferred_us}
    for subject, value in result.items():
        print(f"{subject:24}{value:8.2f}")
    print(json.dumps({subject: round(value, 3) for subject, value in result.items()}))


if __name__ == "__main__":
    main()
