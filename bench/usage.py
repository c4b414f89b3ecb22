"""A 90-day usage page's queries and the call log's first and 100th page, with few events and with many.

Both databases hold 90 days of one busy account: 200 keys that use 3 of 10 routes and 3 of 8 models each, some keys far
more than others. PostgreSQL itself makes the events, with the roll-ups and margins that the ledger would have made.
BENCH_EVENTS (10,000,000) is the larger number. A page is all of its queries, one after the other, on one connection.
"""

from __future__ import annotations

import gc
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rich.progress import track

from keygauge import metrics
from keygauge_keyservice import calls, database, embedded, margin, partition, rollup, usage
from keygauge_keyservice.database import Connection

FEW = 100_000
MANY = int(os.environ.get("BENCH_EVENTS", "10000000"))
DAYS = 90
KEYS = 200
ROUNDS = 60
PAGE = 50
END = datetime.now(UTC).replace(hour=13, minute=30, second=0, microsecond=0)  # within a day: pages have ragged edges
START = END - timedelta(days=DAYS)
DAY = timedelta(days=1)

EVENTS = """
INSERT INTO event (id, time, account_id, key_id, route, method, status, error, ip, duration_us, request_bytes,
    response_bytes, messages, model, provider, input_tokens, output_tokens, cache_read_tokens, usage_status,
    cost_nanousd, price_version, outcome, limit_name, trace_id)
SELECT gen_random_uuid(), %(first)s::timestamptz + random() * (%(last)s::timestamptz - %(first)s::timestamptz),
    'busy', 'key' || key, '/v1/route' || (key * 7 + floor(random() * 3)::int) %% 10, 'POST',
    CASE WHEN chance < 0.93 THEN 200 WHEN chance < 0.97 THEN 429 WHEN chance < 0.99 THEN 400 ELSE 500 END,
    CASE WHEN chance >= 0.93 THEN 'refused' END, '192.0.2.' || floor(random() * 250),
    exp(random() * 9 + 9)::bigint, 900, 9000, 0,
    CASE WHEN chance < 0.93 THEN 'model-' || (key * 3 + floor(random() * 3)::int) %% 8 END, 'openai',
    floor(random() * 9000), floor(random() * 900), 0, 'reported', floor(random() * 1e7), 'bench 1',
    CASE WHEN chance >= 0.93 AND chance < 0.97 THEN 'limited' ELSE 'admitted' END, NULL, md5(number::text)
FROM (SELECT number, floor(%(keys)s * power(random(), 2))::int AS key, random() AS chance
      FROM generate_series(1, %(count)s) AS number OFFSET 0) AS drawn"""
ROLLUPS = f"""
INSERT INTO rollup
SELECT date_bin('15 minutes', time, 'epoch'), account_id, key_id, route, coalesce(model, ''), status / 100, count(*),
    count(*) FILTER (WHERE outcome = 'limited'), sum(input_tokens), sum(output_tokens), sum(cache_read_tokens), 0, 0,
    sum(request_bytes), sum(response_bytes), sum(cost_nanousd), sum(duration_us),
    ARRAY[{
    ", ".join(
        f"count(*) FILTER (WHERE duration_us > {lower * 1e6:.0f} AND duration_us <= {upper * 1e6:.0f})"
        for lower, upper in zip((-1, *metrics.DURATION_BUCKETS_S), (*metrics.DURATION_BUCKETS_S, 1e9), strict=True)
    )
}]
FROM event WHERE time >= %(first)s AND time < %(last)s GROUP BY 1, 2, 3, 4, 5, 6"""
MARGINS = "INSERT INTO margin SELECT * FROM margin_of_rollups(%(first)s, %(last)s, '{900,7200,86400}')"
WEEKS = f"""
INSERT INTO margin
SELECT account_id, 604800, breakdown, inside, date_bin('7 days', bucket, 'epoch'), part, {
    ", ".join(f"sum({name})" for name in margin.SUMS)
}, ARRAY[{", ".join(f"sum(duration_counts[{number + 1}])" for number in range(rollup.DURATION_COUNTS))}]
FROM margin WHERE length_s = 86400 AND inside = '' GROUP BY 1, 2, 3, 4, 5, 6"""
SIZES = """
SELECT (SELECT sum(pg_total_relation_size(inhrelid))::bigint FROM pg_inherits
        WHERE inhparent = 'event'::regclass) AS events,
    pg_total_relation_size('rollup') AS rollups, pg_total_relation_size('margin') AS margins,
    (SELECT count(*) FROM rollup) AS rollup_rows, (SELECT count(*) FROM margin) AS margin_rows"""


def fill(connection: Connection, count: int) -> None:
    database.migrate(connection)
    connection.execute("SET statement_timeout = 0")
    connection.execute("SET work_mem = '64MB'")
    with connection.transaction():
        connection.execute("INSERT INTO plan (id, name) VALUES ('bench', 'Bench')")
        connection.execute("INSERT INTO account (id, name, plan_id) VALUES ('busy', 'Busy', 'bench')")
    midnight = START.replace(hour=0, minute=0)
    days = [midnight + number * DAY for number in range(DAYS + 1)]
    partition.ensure(connection, {partition.month_of(day) for day in days})
    for day in track(days, description=f"{count:,} events", console=None, disable=not sys.stderr.isatty()):
        first, last = max(day, START), min(day + DAY, END)
        part = {"first": first, "last": last, "count": round(count * ((last - first) / (END - START))), "keys": KEYS}
        with connection.transaction():
            connection.execute(EVENTS, part)
            connection.execute(ROLLUPS, part)
            connection.execute(MARGINS, {"first": day, "last": day + DAY})
    connection.execute(WEEKS)
    connection.commit()
    connection.autocommit = True
    for table in ("event", "rollup", "margin"):
        connection.execute(f"VACUUM ANALYZE {table}")


def usage_page(connection: Connection, *, zone: str = "UTC", key_id: str | None = None) -> None:
    """Ask what the portal's usage page asks."""
    selection = usage.Selection(account_id="busy", start=START, end=END, key_id=key_id)
    usage.totals(connection, **selection)
    usage.series(connection, bucket="day", zone=zone, **selection)
    for by in ("model", "route", "key"):
        if key_id is None or by != "key":
            usage.breakdown(connection, by=by, **selection)


def model_trend(connection: Connection) -> None:
    usage.series(connection, bucket="day", group_by="model", account_id="busy", start=START, end=END)


def call_log(connection: Connection, *, number: int, key_id: str | None = None) -> Callable[[], object]:
    """Prepare a page of the call log: those before it are turned, as a reader does."""
    after = None
    for _ in range(number - 1):
        found = calls.find_page(
            connection, after=after, limit=PAGE, account_id="busy", start=START, end=END, key_id=key_id
        )
        after = found.next or after
    return lambda: calls.find_page(
        connection, after=after, limit=PAGE, account_id="busy", start=START, end=END, key_id=key_id
    )


def measure(connection: Connection) -> dict[str, list[float]]:
    chance = random.Random(1)
    pages: dict[str, Callable[[], object]] = {
        "usage": lambda: usage_page(connection),
        "usage_kolkata": lambda: usage_page(connection, zone="Asia/Kolkata"),
        "usage_of_a_key": lambda: usage_page(connection, key_id=f"key{chance.randrange(KEYS)}"),
        "model_trend": lambda: model_trend(connection),
        "calls_1": call_log(connection, number=1),
        "calls_100": call_log(connection, number=100),
        "calls_of_a_rare_key": call_log(connection, number=1, key_id=f"key{KEYS - 1}"),
    }
    return {name: times_ms(page) for name, page in pages.items()}


def times_ms(page: Callable[[], object]) -> list[float]:
    took = []
    for number in range(ROUNDS + 3):
        gc.collect()
        started = time.perf_counter()
        page()
        if number >= 3:  # the first ones warm up
            took.append((time.perf_counter() - started) * 1e3)
    return took


def p95(times: list[float]) -> float:
    return round(statistics.quantiles(times, n=20)[-1], 1)


def main() -> None:
    found: list[dict[str, list[float]]] = []
    with tempfile.TemporaryDirectory(prefix="keygauge-bench-") as directory:
        server = embedded.start(Path(directory) / "postgresql", delete=True)
        for name, count in (("few", FEW), ("many", MANY)):
            server.psql(f"CREATE DATABASE {name}")
            with database.connect(server.get_uri(database=name)) as connection:
                fill(connection, count)
                found.append(measure(connection))
                sizes = connection.execute(SIZES).fetchone() or {}
            print(
                f"{count:,} events:",
                {page: (round(statistics.median(times), 1), p95(times)) for page, times in found[-1].items()},
            )
    small, large = ({page: p95(times) for page, times in part.items()} for part in found)
    medians = [statistics.median(part["usage"]) for part in found]
    result = {
        "events": MANY,
        "small_p95_ms": small["usage"],
        "large_p95_ms": large["usage"],
        "growth": round(large["usage"] / small["usage"], 2),
        "growth_of_medians": round(medians[1] / medians[0], 2),
        "small": small,
        "large": large,
        "rollup_rows": sizes["rollup_rows"],
        "margin_rows": sizes["margin_rows"],
        "event_bytes": round(sizes["events"] / MANY),
        "rollup_mb_per_million_events": round(sizes["rollups"] / MANY, 1),
        "margin_mb_per_million_events": round(sizes["margins"] / MANY, 1),
        "rollup_mb_per_year": round(sizes["rollups"] / 1e6 * 365 / DAYS),
        "margin_mb_per_year": round(sizes["margins"] / 1e6 * 365 / DAYS),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
