"""Writers, key service and PostgreSQL are killed at random; afterwards the ledger has exactly the written events.

KEYGAUGE_CRASH_KILLS and KEYGAUGE_CRASH_EVENTS make it longer, e.g. 50 and 1000000.
"""

import importlib.util
import os
import random
import tempfile
import time
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import psycopg
import pytest
from ports import free_port

from keygauge_demo.stack.process import DemoError, Process
from keygauge_keyservice import database, embedded
from keygauge_keyservice.ledger.event import Event
from keygauge_keyservice.ledger.replicas import replica_check
from keygauge_keyservice.pricing.public_prices import PublicPrices
from keygauge_keyservice.sync import service_keys

KILLS = int(os.environ.get("KEYGAUGE_CRASH_KILLS", "4"))
EVENTS = int(os.environ.get("KEYGAUGE_CRASH_EVENTS", "4000"))
PER_S = 400 if EVENTS < 100_000 else 8_000  # per writer
WRITERS = 2
DRAIN_S = 150 + EVENTS / 1_000
TOKEN = "crash-service-token-0123456789"
WRITER = Path(__file__).with_name("ledger_writer.py")

pytestmark = [pytest.mark.timeout(600 + 10 * KILLS + EVENTS / 500)]

_spec = importlib.util.spec_from_file_location("ledger_writer", WRITER)
ledger_writer = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(ledger_writer)


class Stage:
    """A separate PostgreSQL, a key service and some writers, each of which can be killed and restarted."""

    def __init__(self, directory, port):
        self.directory = directory
        self.port = port
        self.server = embedded.start(directory / "postgresql", delete=True)
        self.url = self.server.get_uri()
        with database.connect(self.url) as connection:
            database.migrate(connection)
            connection.execute("INSERT INTO plan (id, name) VALUES ('crash', 'Crash')")
            connection.execute("INSERT INTO account (id, name, plan_id) VALUES ('crash', 'Crash', 'crash')")
            connection.execute(
                "INSERT INTO key (id, account_id, name) SELECT 'key' || n, 'crash', 'k' FROM generate_series(0, 4) AS n"
            )
            service_keys.add(connection, "", [f"key{number}" for number in range(5)])
        self.service = self.start_service()
        self.writers = []
        self.begun = 0

    def start_service(self):
        environ = {
            "KEYGAUGE_DATABASE_URL": self.url,
            "KEYGAUGE_DATA_DIR": str(self.directory / "service"),
            "KEYGAUGE_SERVICE_TOKEN": TOKEN,
        }
        command = ("-m", "keygauge.cli", "serve", "--port", str(self.port), "--threads", "4")
        return Process("key service", command, log=self.directory / "service.log", environ=environ)

    def start_writer(self, most=10**7):
        url = f"http://127.0.0.1:{self.port}"
        command = (str(WRITER), str(self.directory), url, TOKEN, str(self.begun), str(PER_S), str(most))
        self.begun += 1
        self.writers.append(Process("writer", command, log=self.directory / "writer.log", environ={}))

    def kill_writer(self, chance):
        victim = chance.choice(self.writers)
        self.writers.remove(victim)
        victim.kill()
        self.start_writer()

    def kill_service(self, _):
        self.service.kill()
        self.service = self.start_service()

    def kill_postgresql(self, _):
        postmaster = self.server.get_postmaster_info().process
        for process in [postmaster, *postmaster.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs([postmaster], timeout=60)
        self.server.ensure_postgres_running()

    def heal(self, timeout_s=1.0):
        """Make sure that the service runs: it exits if it was started while PostgreSQL was down."""
        if not self.service.is_running:
            self.service = self.start_service()
        with suppress(DemoError):
            self.service.wait_until_ready(f"http://127.0.0.1:{self.port}/readyz", timeout_s=timeout_s)

    def count(self):
        with psycopg.connect(self.url) as connection:
            return connection.execute("SELECT count(*) FROM event").fetchone()[0]

    def close(self):
        for process in (*self.writers, self.service):
            process.stop()
        self.server.cleanup()


@pytest.fixture
def stage():
    with tempfile.TemporaryDirectory(prefix="kg-") as directory:  # a short path, as it contains a socket
        stage = Stage(Path(directory), free_port())
        yield stage
        stage.close()


def written(stage):
    return sum(ledger_writer.read_counts(stage.directory).values())


def drain(stage):
    """Run a last writer that adopts the spools of killed ones, until everything written has arrived."""
    stage.heal(timeout_s=150.0)  # a writer looks for others' spools at start, and then every 15 s
    for writer in stage.writers:
        writer.stop()
    stage.writers.clear()
    stage.start_writer(most=0)
    deadline = time.monotonic() + DRAIN_S
    while time.monotonic() < deadline:
        stage.heal()
        with suppress(psycopg.OperationalError):
            if stage.count() >= written(stage) and not list(stage.directory.glob("spool/*.lock"))[1:]:
                return
        time.sleep(0.2)


def test_the_ledger_is_exact_after_random_kills(stage):
    chance = random.Random(20)
    kinds = [stage.kill_writer, stage.kill_service, stage.kill_postgresql]
    kills = Counter()
    for _ in range(WRITERS):
        stage.start_writer()
    while sum(kills.values()) < KILLS or written(stage) < EVENTS:
        time.sleep(chance.uniform(0.05, 0.6))
        if sum(kills.values()) < KILLS:
            kill = kinds[sum(kills.values()) % 3] if chance.random() < 0.7 else chance.choice(kinds)
            kill(chance)
            kills[kill.__name__] += 1
        if chance.random() < 0.8:  # sometimes the next kill comes while the last victim is starting
            stage.heal()
    drain(stage)
    counts = ledger_writer.read_counts(stage.directory)
    assert "lost" not in (stage.directory / "writer.log").read_text()
    found = compare(stage, counts)
    print(
        f"{sum(kills.values())} kills {dict(kills)}, {found:,} events of {len(counts)} writers, all in the ledger once"
    )


def compare(stage, counts):
    """Compare event by event and return their number; per writer, at most one event was written but not counted yet."""
    seen = Counter()
    price = PublicPrices()
    with psycopg.connect(stage.url) as connection, connection.cursor("all") as cursor:
        cursor.itersize = 10_000
        cursor.execute(
            "SELECT time, account_id, key_id, route, method, status, error, ip, duration_us, first_token_us, "
            "request_bytes, response_bytes, stream, messages, model, provider, input_tokens, output_tokens, "
            "cache_read_tokens, cache_write_tokens, reasoning_tokens, usage_status, outcome, limit_name, trace_id, "
            "details, requested_model, tag, cost_nanousd FROM event ORDER BY trace_id"
        )
        last = None
        for time_, *fields, cost in cursor:
            number = int(fields[-4], 16)
            assert number != last, f"event {number} is there twice"
            last = number
            expected = Event._make(ledger_writer.event_of(number))
            assert (time_, *fields) == (datetime.fromtimestamp(expected.time_us / 1e6, UTC), *expected[1:])
            found = price(expected)
            assert cost == (found and found.nanousd)
            seen[number // ledger_writer.NUMBERS] += 1
            assert number % ledger_writer.NUMBERS <= counts[number // ledger_writer.NUMBERS]
    for writer, count in counts.items():
        assert count <= seen[writer] <= count + 1, f"writer {writer} wrote {count}, {seen[writer]} arrived"
    assert_sums_follow(stage.url)
    return sum(seen.values())


def assert_sums_follow(url):
    with database.connect(url) as connection:
        connection.execute("SET statement_timeout = 0")
        rows = connection.execute(
            "(SELECT key_id, status / 100 AS class, count(*)::bigint AS requests, sum(cost_nanousd)::bigint AS cost, "
            "sum(input_tokens)::bigint AS tokens FROM event GROUP BY 1, 2) EXCEPT "
            "SELECT key_id, status_class, sum(requests)::bigint, nullif(sum(cost_nanousd), 0)::bigint, "
            "nullif(sum(input_tokens), 0)::bigint FROM rollup GROUP BY 1, 2"
        ).fetchall()
        assert rows == []
        wanted = "SELECT * FROM usage_aggregate_of_rollups('-infinity', 'infinity', '{900,7200,86400,604800}')"
        assert connection.execute(f"SELECT * FROM usage_aggregate EXCEPT {wanted}").fetchall() == []
        rows = connection.execute(
            "(SELECT key_id, tag, count(*)::bigint AS requests, sum(duration_us)::bigint AS duration_us FROM event "
            "WHERE tag IS NOT NULL GROUP BY 1, 2) EXCEPT SELECT key_id, tag, sum(requests)::bigint, "
            "sum(duration_us)::bigint FROM usage_tag WHERE length_s = 900 GROUP BY 1, 2"
        ).fetchall()
        assert rows == []
        assert replica_check.find_differences(connection, datetime(2020, 1, 1, tzinfo=UTC), grace=timedelta(0)) == []
        compared = connection.execute("SELECT count(*) AS hours FROM replica_check WHERE reported_requests > 0")
        assert compared.fetchone()["hours"] > 0
