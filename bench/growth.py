"""Cost against work: what a call, a count, a heartbeat and a page cost as keys, series, replicas and events grow.

`keys` is the CPU time that the middleware adds to a call in a process that knows that many keys and serves up to
20,000 of them in turn; `series` that of counting a call whose labels are one of that many; `replicas` the CPU time of
a heartbeat, for key service and PostgreSQL; `events` the median time of a usage page over 90 days. The chart, in the
file BENCH_CHART if given, shows each cost as a multiple of its lowest: a flat line means that the work costs no more
when there is more of it.
BENCH_EVENTS (1,000,000) is the largest ledger, BENCH_GROWN_KEYS (100,000) the largest number of keys.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import time
from collections.abc import Iterable, Sequence
from math import log10
from pathlib import Path
from typing import Any

os.environ.setdefault("BENCH_EVENTS", "1000000")
os.environ.setdefault("HEARTBEAT_SECONDS", "8")

import pygal
from bench import aggregator, busy, heartbeat, overhead, usage
from bench.service import PEPPER, TOKEN, Service, drain, lifespan, make_scope, run_service
from opentelemetry.metrics import set_meter_provider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from pygal.style import Style

from keygauge import key as key_format
from keygauge.asgi import KeyGaugeMiddleware
from keygauge.telemetry.aggregator import Aggregator
from keygauge_keyservice import database
from keygauge_keyservice.accounts import accounts
from keygauge_keyservice.secret import Peppers

KEYS = tuple(
    count for count in (1, 100, 1_000, 10_000, 100_000) if count <= int(os.environ.get("BENCH_GROWN_KEYS", "100000"))
)
SERIES = (1, 10, 100, 1_000, 10_000)
CALLS = 2_000  # per round
ROUNDS = 10
ACCOUNTS = 100
CHART = os.environ.get("BENCH_CHART")

Costs = dict[int, float]  # by amount of work


def make_keys(service: Service, count: int) -> list[str]:
    """Create keys in bulk, with the benchmark's plan, and return their tokens."""
    peppers, connection = Peppers.parse(PEPPER), service.connection
    owners = [accounts.create(connection, name=f"g{n}", plan_id="bench", actor="bench").id for n in range(ACCOUNTS)]
    ids = [key_format.new_id() for _ in range(count)]
    tokens = [key_format.generate("live", key_id) for key_id in ids]
    with connection.transaction(), connection.cursor() as cursor:
        with cursor.copy("COPY key (id, account_id, name) FROM STDIN") as copy:
            for number, key_id in enumerate(ids):
                copy.write_row((key_id, owners[number % ACCOUNTS], "bench"))
        with cursor.copy("COPY key_secret (key_id, number, hash, pepper_version) FROM STDIN") as copy:
            for key_id, token in zip(ids, tokens, strict=True):
                copy.write_row((key_id, 1, peppers.hash(key_format.digest(token), 1), 1))
    return tokens


async def measure_keys(service: Service, tokens: Sequence[str]) -> Costs:
    """Return the CPU microseconds that the middleware adds to a call, by the number of keys."""
    bare = overhead.make_app()
    guard = overhead.make_app(
        KeyGaugeMiddleware,
        service_url=service.url,
        service_token=TOKEN,
        spool_dir=service.directory / "spool",
        wait_s=10,
    )
    costs: Costs = {}
    async with lifespan(guard):
        for count in KEYS:
            for first in range(0, count, 500):  # known to the process before they are measured
                await asyncio.gather(*(_call(guard, token) for token in tokens[first : min(first + 500, count)]))
            drain()
            rounds = []
            for number in range(ROUNDS):
                turns = [tokens[(number * CALLS + n) % count] for n in range(CALLS)]
                with_guard, without = await _time(guard, turns), await _time(bare, turns)
                drain()
                rounds.append((with_guard - without) / CALLS * 1e6)
            costs[count] = statistics.median(rounds)
    return costs


async def _time(app: Any, tokens: Iterable[str]) -> float:
    started = time.thread_time()
    for token in tokens:
        await _call(app, token)
    return time.thread_time() - started


async def _call(app: Any, token: str) -> None:
    statuses: list[int] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    await app(make_scope(token), receive, send)
    if statuses != [200]:
        raise SystemExit(f"a call was answered {statuses}")


def measure_series() -> Costs:
    """Return the microseconds to count a call, on the request path and off it, by the number of series."""
    costs: Costs = {}
    for count in SERIES:
        counted = Aggregator(max_keys=count + 1)
        calls = [aggregator.make_call(number) for number in range(max(CALLS, count))]
        for number, call in enumerate(calls):
            call.key = f"key{number % count:09d}"
        rounds = []
        for _ in range(ROUNDS):
            started = time.thread_time()
            for call in calls:
                counted.started(call)
                counted.record(call)
            counted.drain()
            rounds.append((time.thread_time() - started) / len(calls) * 1e6)
        costs[count] = statistics.median(rounds)
    return costs


def measure_replicas(service: Service) -> Costs:
    """Return the CPU milliseconds of a heartbeat, by the number of replicas."""
    limits = heartbeat.make_limits(service)
    return {count: heartbeat.measure(service, limits, count)["cpu_ms_per_beat"] for count in heartbeat.REPLICAS}


def measure_events() -> Costs:
    """Return the milliseconds of a usage page over 90 days, by the number of events in the ledger."""
    counts = [*(count for count in (10_000, 100_000, 1_000_000) if count < busy.MANY), busy.MANY]
    costs: Costs = {}
    with busy.serve() as server:
        for count in counts:
            filled = busy.ready(server, f"events{count}", count)
            with database.connect(filled.url) as connection:
                page, times = usage.Pages(connection, filled), []
                for _ in range(usage.WARM_UP + usage.ROUNDS):
                    started = time.perf_counter()
                    page.usage()
                    times.append((time.perf_counter() - started) * 1e3)
            costs[count] = statistics.median(times[usage.WARM_UP :])
    return costs


def draw(found: dict[str, Costs]) -> bytes:
    """Draw each cost as a multiple of its lowest against the amount of work, which has a logarithmic scale."""
    chart = pygal.XY(
        x_title="keys, series, replicas or events",
        y_title="multiple of the lowest cost",
        style=Style(font_family="sans-serif", background="white", label_font_size=12, major_label_font_size=12),
        legend_at_bottom=True,
        legend_at_bottom_columns=2,
        truncate_legend=-1,
        show_x_guides=True,
        js=(),
        height=440,
        range=(0, max(4.0, *(max(costs.values()) / min(costs.values()) for costs in found.values()))),
        x_labels=[{"value": power, "label": f"{10**power:,}"} for power in range(8)],
    )
    for name, costs in found.items():
        chart.add(name, [(log10(count), cost / min(costs.values())) for count, cost in costs.items()])
    return bytes(chart.render())


def main() -> None:
    set_meter_provider(MeterProvider([InMemoryMetricReader()]))
    found: dict[str, Costs] = {}
    with run_service() as service:
        tokens = make_keys(service, max(KEYS))
        found["a call, us, by keys of the process"] = asyncio.run(measure_keys(service, tokens))
        found["a heartbeat, ms, by replicas"] = measure_replicas(service)
    found["counting a call, us, by series"] = measure_series()
    found["a usage page, ms, by events"] = measure_events()
    if CHART:
        Path(CHART).write_bytes(draw(found))
    print(
        json.dumps(
            {name: {str(count): round(cost, 2) for count, cost in costs.items()} for name, costs in found.items()}
        )
    )


if __name__ == "__main__":
    main()
