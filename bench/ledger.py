"""Ingest over HTTP, exactly once, priced and rolled up, against plain psycopg COPY of the same rows in the same run.

All write the same events, one batch per commit, into the same kind of tables: partitioned by month, two indexes.
They alternate batch by batch, each going first equally often, so that other work on the machine affects all alike; a
round's ratio is that of its sums, and the result is the median of the rounds. The service is `keygauge serve` with one
process; each side has one connection to PostgreSQL. `us` is the cost per event, in total and by step; the rest is
HTTP, cursor, keys' last use, commit, and waiting for the other side.
"""

from __future__ import annotations

import gc
import http.client
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from bench.service import postgresql

from keygauge_demo.stack.port import hold
from keygauge_keyservice import database
from keygauge_keyservice.database import Connection
from keygauge_keyservice.ledger import aggregate, partition, rollup
from keygauge_keyservice.ledger.batch import read_lines
from keygauge_keyservice.ledger.copy import copied_events, event_id
from keygauge_keyservice.ledger.event import Event, Window
from keygauge_keyservice.pricing.cost import Cost
from keygauge_keyservice.pricing.public_prices import PublicPrices
from keygauge_keyservice.sync import service_keys

BATCH = 5_000
BATCHES = 6  # per round
ROUNDS = 9
TOKEN = "bench-service-token"
SPAN_S = 600  # the time span of a batch's events
KEYS = [f"key{number:02d}" for number in range(20)]
MODELS = [("openai", "gpt-4o"), ("openai", "gpt-4o-mini"), ("anthropic", "claude-3-5-sonnet-20241022")]

COLUMNS = {
    "id": "uuid",
    "time": "timestamptz",
    **dict.fromkeys(("account_id", "key_id", "route", "method"), "text"),
    "status": "int2",
    "error": "text",
    "ip": "text",
    **dict.fromkeys(("duration_us", "first_token_us", "request_bytes", "response_bytes"), "int8"),
    "stream": "text",
    "messages": "int8",
    "model": "text",
    "provider": "text",
    **dict.fromkeys(("input_tokens", "output_tokens"), "int8"),
    **dict.fromkeys(("cache_read_tokens", "cache_write_tokens", "reasoning_tokens"), "int8"),
    "usage_status": "text",
    "cost_nanousd": "int8",
    **dict.fromkeys(("price_version", "outcome", "limit_name", "trace_id"), "text"),
}


@dataclass(frozen=True)
class Work:
    """The data of one round: the lines to send, and the same events as rows to copy."""

    lines: list[bytes]
    rows: list[tuple[Any, ...]]


def start_service(url: str, port: int) -> subprocess.Popen[bytes]:
    environ = os.environ | {
        "KEYGAUGE_DATABASE_URL": url,
        "KEYGAUGE_SERVICE_TOKEN": TOKEN,
        "KEYGAUGE_ADMIN_TOKEN": TOKEN,
        "KEYGAUGE_PEPPER": "1:" + "11" * 32,
    }
    return subprocess.Popen([Path(sys.executable).with_name("keygauge"), "serve", "--port", str(port)], env=environ)


def prepare(connection: Connection) -> None:
    database.migrate(connection)
    with connection.transaction():
        connection.execute("INSERT INTO plan (id, name) VALUES ('bench', 'Bench')")
        connection.execute("INSERT INTO account (id, name, plan_id) VALUES ('bench', 'Bench', 'bench')")
        connection.execute(
            "INSERT INTO key (id, account_id, name) SELECT id, 'bench', id FROM unnest(%s::text[]) AS id", (KEYS,)
        )
        service_keys.add(connection, "", KEYS)
        connection.execute("CREATE TABLE plain (LIKE event INCLUDING ALL) PARTITION BY RANGE (time)")
        connection.execute("CREATE TABLE plain_all PARTITION OF plain DEFAULT")


def make_work(number: int) -> Work:
    chance = random.Random(number)
    price = PublicPrices()
    events = [make_event(chance, position) for position in range(BATCH * BATCHES)]
    lines = [json.dumps(event, separators=(",", ":")).encode() + b"\n" for event in events]
    rows = []
    for position, event in enumerate(events):
        cost = price(event)
        rows.append(
            (
                UUID(event_id("plain", position, event.time_us)),
                datetime.fromtimestamp(event.time_us / 1e6, UTC),
                *event[1:22],
                *(cost or (None, None)),
                *event[22:25],
            )
        )
    return Work(lines, rows)


def make_event(chance: random.Random, position: int) -> Event:
    provider, model = chance.choice(MODELS)
    is_limited = chance.random() < 0.05
    return Event(
        time_us=time.time_ns() // 1_000 - SPAN_S * 1_000_000 + position % BATCH * SPAN_S * 1_000_000 // BATCH,
        account="bench",
        key=chance.choice(KEYS),
        route="/v1/chat/completions" if provider == "openai" else "/v1/messages",
        method="POST",
        status=429 if is_limited else 200,
        error="rate_limited" if is_limited else None,
        ip=f"192.0.2.{chance.randrange(250)}",
        duration_us=chance.randrange(5_000_000),
        first_token_us=None,
        request_bytes=chance.randrange(9_000),
        response_bytes=chance.randrange(90_000),
        stream=None,
        messages=0,
        model=None if is_limited else model,
        provider=None if is_limited else provider,
        input_tokens=None if is_limited else chance.randrange(100, 9_000),
        output_tokens=None if is_limited else chance.randrange(900),
        cache_read_tokens=None if is_limited else chance.randrange(100),
        cache_write_tokens=None if is_limited else 0,
        reasoning_tokens=None if is_limited else 0,
        usage_status="none" if is_limited else "reported",
        outcome="limited" if is_limited else "admitted",
        limit="rpm" if is_limited else None,
        trace_id=f"{chance.getrandbits(128):032x}",
        details=None,
    )


def ingest(client: http.client.HTTPConnection, lines: Sequence[bytes], first: int) -> None:
    path = f"/v1/events?spool=be&first={first}"
    client.request("POST", path, b"".join(lines), {"Authorization": f"Bearer {TOKEN}"})
    answer = json.loads(client.getresponse().read())
    if answer["accepted"] != len(lines):
        raise SystemExit(f"the ledger took {answer} of {len(lines)} events")


def copy(connection: Connection, rows: Sequence[tuple[Any, ...]], *, is_binary: bool) -> None:
    statement = f"COPY plain ({', '.join(COLUMNS)}) FROM STDIN" + (" (FORMAT BINARY)" if is_binary else "")
    with connection.transaction(), connection.cursor() as cursor, cursor.copy(statement) as out:
        if is_binary:
            out.set_types(list(COLUMNS.values()))
        for row in rows:
            out.write_row(row)


def measure_steps(connection: Connection, work: Work) -> dict[str, float]:
    """Return the microseconds per event of each step in isolation."""
    price, window, lines = PublicPrices(), Window(0, 1 << 62), [line[:-1] for line in work.lines[:BATCH]]
    events = [event for event in read_lines(lines, window=window) if isinstance(event, Event)]
    priced = [(event, price(event)) for event in events]
    numbered = [(number, event, cost) for number, (event, cost) in enumerate(priced)]
    sums = add_up(priced)
    usage_aggregates = aggregate.columns(sums.groups)
    partition.ensure(connection, [partition.month_of(datetime.now(UTC) - timedelta(seconds=SPAN_S))])

    def copy_alone() -> None:
        with copied_events(connection, "steps", numbered):
            pass

    def in_transaction(run: Callable[[], None]) -> Callable[[], None]:
        def step() -> None:
            with connection.transaction(force_rollback=True):
                run()

        return step

    steps: dict[str, Callable[[], object]] = {
        "read_and_check": lambda: read_lines(lines, window=window),
        "price": lambda: [price(event) for event in events],
        "add_up": lambda: aggregate.columns(add_up(priced).groups),
        "copy": in_transaction(copy_alone),
        "roll_up": in_transaction(lambda: rollup.write(connection, sums.groups)),
        "usage_aggregates": in_transaction(lambda: aggregate.write(connection, usage_aggregates)),
    }
    return {name: round(min(time_of(step) for _ in range(7)) / BATCH * 1e6, 2) for name, step in steps.items()}


def add_up(priced: Sequence[tuple[Event, Cost | None]]) -> rollup.Sums:
    sums = rollup.Sums()
    for event, cost in priced:
        sums.add(event, cost)
    return sums


def time_of(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def bytes_per_event(connection: Connection) -> float:
    row = connection.execute(
        "SELECT sum(pg_total_relation_size(inhrelid)) / (SELECT count(*) FROM event) AS bytes "
        "FROM pg_inherits WHERE inhparent = 'event'::regclass"
    ).fetchone()
    return round(float(row["bytes"]), 1) if row else 0.0


def connect(port: int) -> http.client.HTTPConnection:
    for _ in range(1_200):  # a minute: the machine may be busy
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            time.sleep(0.05)
        else:
            break
    return http.client.HTTPConnection("127.0.0.1", port)


def main() -> None:
    with (
        tempfile.TemporaryDirectory() as directory,
        postgresql(Path(directory)) as server,
        database.connect(url := server.get_uri()) as connection,
        hold() as held,
    ):
        prepare(connection)
        port = held.getsockname()[1]
        service = start_service(url, port)
        try:
            report(connection, connect(port))
        finally:
            service.terminate()
            service.wait()


def report(connection: Connection, client: http.client.HTTPConnection) -> None:
    rounds: list[dict[str, float]] = []
    for number in range(ROUNDS + 1):
        work = make_work(number)
        gc.collect()
        took = measure_round(connection, client, work, number * len(work.lines))
        rates = {name: len(work.lines) / seconds for name, seconds in took.items()}
        print("round", number, *(f"{name} {rate:,.0f}/s" for name, rate in rates.items()), "(warm-up)" * (not number))
        if number:
            rounds.append(rates)
    events_per_s = statistics.median(rates["ledger"] for rates in rounds)
    steps = measure_steps(connection, work)
    result = {
        "events_per_s": round(events_per_s),
        "copy_rows_per_s": round(statistics.median(rates["copy"] for rates in rounds)),
        "ratio": round(statistics.median(rates["ledger"] / rates["copy"] for rates in rounds), 3),
        "ratios": [round(rates["ledger"] / rates["copy"], 2) for rates in rounds],
        "binary_copy_rows_per_s": round(statistics.median(rates["binary copy"] for rates in rounds)),
        "bytes_per_event": bytes_per_event(connection),
        "us": {
            "all": round(1e6 / events_per_s, 2),
            **steps,
            "rest": round(1e6 / events_per_s - sum(steps.values()), 2),
        },
    }
    print(json.dumps(result))


def measure_round(
    connection: Connection, client: http.client.HTTPConnection, work: Work, first: int
) -> dict[str, float]:
    """Return each side's seconds for all batches of a round."""
    sides: list[tuple[str, Callable[[int, int], None]]] = [
        ("ledger", lambda start, end: ingest(client, work.lines[start:end], first + start)),
        ("copy", lambda start, end: copy(connection, work.rows[start:end], is_binary=False)),
        ("binary copy", lambda start, end: copy(connection, work.rows[start:end], is_binary=True)),
    ]
    took = dict.fromkeys((name for name, _ in sides), 0.0)
    for start in range(0, len(work.lines), BATCH):
        for name, run in sides:
            started = time.perf_counter()
            run(start, start + BATCH)
            took[name] += time.perf_counter() - started
        sides.append(sides.pop(0))
    return took


if __name__ == "__main__":
    main()
