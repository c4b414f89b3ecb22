"""Cost per call on the request path: our aggregator, OpenTelemetry's SDK and prometheus_client in the same run.

Each records the same: one counter by key, route, model, method and status, and one histogram by route, model and status
class. The aggregator also counts active requests, sizes, tokens and the decision, and defers the histogram:
`drain_us` per call.
"""

import json
import statistics
import time
from collections.abc import Callable

import prometheus_client
from opentelemetry.metrics import Meter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from keygauge import metrics
from keygauge.call import Call
from keygauge.telemetry.aggregator import Aggregator
from keygauge.telemetry.instruments import instrument
from keygauge.usage import Usage

ROUNDS = 15
CALLS = 2000
KEYS = 200

Subject = tuple[Callable[[Call], None], Callable[[], None]]  # records a call; drains


def make_call(number: int) -> Call:
    call = Call(method="POST", ip="192.0.2.1", time_ns=0, started_ns=0)
    call.key = f"key{number % KEYS:09d}"
    call.route = "/v1/chat/completions"
    call.model = f"model-{number % 5}"
    call.provider = "openai"
    call.status = 200
    call.ended_ns = 10_000_000
    call.request_bytes, call.response_bytes = 300, 1000
    call.usage = Usage(100, 20, 5)
    return call


def make_meter() -> Meter:
    provider = MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False)
    return provider.get_meter("bench")


def make_keygauge() -> Subject:
    aggregator = Aggregator()
    instrument(make_meter(), aggregator, gauges={})

    def record(call: Call) -> None:
        aggregator.started(call)
        aggregator.record(call)

    return record, aggregator.drain


def make_opentelemetry() -> Subject:
    meter = make_meter()
    add = meter.create_counter("requests").add
    observe = meter.create_histogram("duration", explicit_bucket_boundaries_advisory=metrics.DURATION_BUCKETS_S).record

    def record(call: Call) -> None:
        where = {metrics.ROUTE: call.route, metrics.MODEL: call.model}
        add(1, {metrics.KEY: call.key, **where, metrics.METHOD: call.method, metrics.STATUS: call.status})
        observe(0.01, {**where, metrics.STATUS_CLASS: "2xx"})

    return record, lambda: None


def make_prometheus_client() -> Subject:
    registry = prometheus_client.CollectorRegistry()
    requests = prometheus_client.Counter(
        "requests", "-", ["key", "route", "model", "method", "status"], registry=registry
    )
    duration = prometheus_client.Histogram(
        "duration", "-", ["route", "model", "status"], registry=registry, buckets=metrics.DURATION_BUCKETS_S
    )

    def record(call: Call) -> None:
        requests.labels(call.key, call.route, call.model, call.method, call.status).inc()
        duration.labels(call.route, call.model, "2xx").observe(0.01)

    return record, lambda: None


def time_us(action: Callable[[Call], None], calls: list[Call]) -> float:
    started_ns = time.perf_counter_ns()
    for call in calls:
        action(call)
    return (time.perf_counter_ns() - started_ns) / len(calls) / 1000


def time_drain_us(drain: Callable[[], None]) -> float:
    started_ns = time.perf_counter_ns()
    drain()
    return (time.perf_counter_ns() - started_ns) / CALLS / 1000


def run() -> dict[str, float]:
    calls = [make_call(number) for number in range(CALLS)]
    subjects: dict[str, Subject] = {
        "aggregator_us": make_keygauge(),
        "opentelemetry_us": make_opentelemetry(),
        "prometheus_client_us": make_prometheus_client(),
        "loop_us": (lambda _call: None, lambda: None),
    }
    times: dict[str, list[float]] = {name: [] for name in (*subjects, "drain_us")}
    for _ in range(ROUNDS):
        for name, (record, drain) in subjects.items():
            times[name].append(time_us(record, calls))
            if name == "aggregator_us":
                times["drain_us"].append(time_drain_us(drain))
    return {name: round(statistics.median(values), 2) for name, values in times.items()}


if __name__ == "__main__":
    result = run()
    for name, value in result.items():
        print(f"{name:22}{value:8.2f}")
    result["ratio_to_opentelemetry"] = round(result["aggregator_us"] / result["opentelemetry_us"], 3)
    result["ratio_to_prometheus_client"] = round(result["aggregator_us"] / result["prometheus_client_us"], 3)
    print(json.dumps(result))
