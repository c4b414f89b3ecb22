"""The cost per WSGI request of authorization and metering, next to contrib's WSGI middleware, in the same run.

CPU microseconds of the serving thread, measured like `bench.overhead`: in each of many short rounds, every subject
answers the same requests, in rotating order, and its cost is the median difference to the bare app in the same round.
KeyGauge runs as in production; contrib records metrics only, no spans: its cheapest setting. KeyGauge's work
off the request path in this process (histograms between the rounds, shipping, heartbeats) is `wsgi_deferred_us`,
CPU time per request.
"""

from __future__ import annotations

import io
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bench.service import ANSWER, PATH, TOKEN, Service, drain, run_service, wait_until
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.instrumentation.wsgi import OpenTelemetryMiddleware
from opentelemetry.metrics import set_meter_provider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.trace import NoOpTracerProvider
from prometheus_client import CollectorRegistry

from keygauge.wsgi import KeyGaugeMiddleware

ROUNDS = 200
WARM_UP = 10  # rounds that do not count
REQUESTS = 60  # per subject and round


def answer(_: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Answer with 1 kB of JSON."""
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(ANSWER)))])
    return [ANSWER]


@dataclass
class Subject:
    """One app, and its time per request in each round."""

    app: Callable[..., Any]
    sent: int = 0
    times_us: list[float] = field(default_factory=list)

    def run(self, environ: dict[str, Any]) -> None:
        statuses: list[str] = []

        def start_response(status: str, *_: object) -> None:
            statuses.append(status)

        started = time.thread_time()
        for _ in range(REQUESTS):
            chunks = self.app(dict(environ), start_response)
            for _chunk in chunks:
                pass
            if hasattr(chunks, "close"):
                chunks.close()
        self.times_us.append((time.thread_time() - started) / REQUESTS * 1e6)
        self.sent += REQUESTS
        if statuses != ["200 OK"] * REQUESTS:
            raise SystemExit(f"{self.app} answered {sorted(set(statuses))}, {len(statuses)} times")


def make_subjects(service: Service) -> dict[str, Subject]:
    set_meter_provider(MeterProvider([PrometheusMetricReader(registry=CollectorRegistry())]))
    guard = KeyGaugeMiddleware(
        answer, service_url=service.url, service_token=TOKEN, spool_dir=service.directory / "spool", wait_s=5
    )
    contrib = OpenTelemetryMiddleware(
        answer,
        meter_provider=MeterProvider([PrometheusMetricReader(registry=CollectorRegistry())]),
        tracer_provider=NoOpTracerProvider(),
    )
    return {"bare": Subject(answer), "wsgi": Subject(guard), "contrib_wsgi": Subject(contrib)}


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


def measure(subjects: dict[str, Subject], service: Service) -> float:
    """Run all rounds; return the CPU time of KeyGauge's threads per request."""
    environ = make_environ(service.token)
    order = list(subjects.values())
    guard = subjects["wsgi"]
    deferred_s = 0.0
    before = time.process_time() - time.thread_time()
    for _ in range(WARM_UP + ROUNDS):
        for subject in order:
            subject.run(environ)
        order.append(order.pop(0))
        deferred_s += drain()
    wait_until(lambda: service.count_events() == guard.sent, "every request is in the ledger")
    deferred_s += time.process_time() - time.thread_time() - before
    guard.app._process.stop()  # type: ignore[attr-defined]  # noqa: SLF001 - WSGI has no shutdown, and its directory is deleted now
    return deferred_s / guard.sent * 1e6


def summarise(subjects: dict[str, Subject]) -> dict[str, float]:
    bare_us = subjects["bare"].times_us[WARM_UP:]

    def added(name: str) -> float:
        pairs = zip(subjects[name].times_us[WARM_UP:], bare_us, strict=True)
        return statistics.median(mine - bare for mine, bare in pairs)

    result = {"wsgi_added_us": added("wsgi"), "contrib_wsgi_added_us": added("contrib_wsgi")}
    return result | {"wsgi_ratio_to_contrib": result["wsgi_added_us"] / result["contrib_wsgi_added_us"]}


def main() -> None:
    with run_service() as service:
        subjects = make_subjects(service)
        deferred_us = measure(subjects, service)
    result = summarise(subjects) | {"wsgi_deferred_us": deferred_us}
    for figure, value in result.items():
        print(f"{figure:24}{value:8.2f}")
    print(json.dumps({figure: round(value, 3) for figure, value in result.items()}))


if __name__ == "__main__":
    main()
