import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import psycopg
import pytest

from keygauge_keyservice import database
from keygauge_keyservice.ledger import ingest
from keygauge_keyservice.ledger.event import Refusal
from keygauge_keyservice.pricing.public_prices import PublicPrices

PRICE = PublicPrices()


pytestmark = pytest.mark.usefixtures("metered")


@pytest.fixture
def take(connection, noon):
    def take(first, lines, spool="a1", price=PRICE, **options):
        return ingest.take_batch(connection, spool, first, lines, price, now=noon + timedelta(hours=1), **options)

    return take


@pytest.fixture
def lines(make_line):
    return [make_line(number * 60, input_tokens=number) for number in range(40)]


def tokens_of(connection):
    return [row["input_tokens"] for row in connection.execute("SELECT input_tokens FROM event ORDER BY time")]


def requests_of(connection):
    row = connection.execute("SELECT coalesce(sum(requests), 0)::int AS requests FROM rollup").fetchone()
    return row["requests"]


def test_a_batch_is_ingested_and_acknowledged(connection, take, lines):
    receipt = take(0, lines)
    assert (receipt.next, receipt.accepted, receipt.refused, receipt.missing) == (40, 40, (), 0)
    assert tokens_of(connection) == list(range(40))
    assert requests_of(connection) == 40
    assert ingest.find_cursor(connection, "a1") == 40


def test_repeating_a_batch_has_no_effect(connection, take, lines):
    take(0, lines)
    receipt = take(0, lines)
    assert (receipt.next, receipt.accepted, receipt.duplicates) == (40, 0, 40)
    assert tokens_of(connection) == list(range(40))
    assert requests_of(connection) == 40


def test_only_new_lines_of_an_overlapping_batch_are_ingested(connection, take, lines):
    take(0, lines[:25])
    receipt = take(10, lines[10:])
    assert (receipt.next, receipt.accepted, receipt.duplicates) == (40, 15, 15)
    assert tokens_of(connection) == list(range(40))
    assert requests_of(connection) == 40


def test_a_batch_below_the_cursor_is_ignored_and_gaps_are_counted(connection, take, lines):
    assert take(20, lines[20:]).missing == 20
    receipt = take(0, lines[:20])
    assert (receipt.next, receipt.accepted, receipt.duplicates) == (40, 0, 20)
    assert tokens_of(connection) == list(range(20, 40))


def test_invalid_lines_are_refused_and_the_rest_is_ingested(connection, take, lines, make_line):
    lines[3] = b"nonsense"
    lines[5] = make_line(output_tokens=-1)
    lines[7] = make_line(key="stranger")
    lines[9] = make_line(key="beta-live")  # an event of one account with a key of another
    lines[11] = make_line(offset_s=-ingest.AGE_MAX.total_seconds() - 86_400)
    receipt = take(0, lines)
    assert receipt.refused == (
        (3, Refusal.BAD_JSON),
        (5, Refusal.NEGATIVE_TOKENS),
        (7, Refusal.UNKNOWN_KEY),
        (9, Refusal.UNKNOWN_KEY),
        (11, Refusal.BAD_TIME),
    )
    assert (receipt.next, receipt.accepted) == (40, 35)
    assert requests_of(connection) == len(tokens_of(connection)) == 35
    assert take(0, lines).refused == ()  # counted once


def test_a_batch_of_only_invalid_lines_moves_the_cursor(connection, take):
    receipt = take(0, [b"x", b"y"])
    assert (receipt.next, receipt.accepted, len(receipt.refused)) == (2, 0, 2)
    assert ingest.find_cursor(connection, "a1") == 2


def test_an_event_of_another_month_gets_its_partition(connection, take, make_line):
    assert take(0, [make_line(), make_line(-40 * 86_400), make_line(-200 * 86_400)]).accepted == 3
    names = {row["t"] for row in connection.execute("SELECT tableoid::regclass::text AS t FROM event")}
    assert names == {"event_2026_05", "event_2026_04", "event_2025_11"}


def test_a_keys_last_use_is_its_newest_event(connection, take, make_line, noon):
    take(0, [make_line(60, ip="192.0.2.60", route="/new"), make_line(0, ip="192.0.2.1"), make_line(30)])
    take(0, [make_line(50, ip="192.0.2.50")], spool="b2")
    row = connection.execute(
        "SELECT last_used_at, last_used_ip, last_used_route FROM key WHERE id = 'acme-live'"
    ).fetchone()
    assert list(row.values()) == [noon + timedelta(seconds=60), "192.0.2.60", "/new"]


def test_nothing_is_ingested_within_a_transaction(connection, take, lines):
    with connection.transaction(), pytest.raises(ingest.LedgerError):
        take(0, lines)


def test_a_spool_sent_by_many_threads_is_ingested_once(database_url, connection, lines, noon):
    def send(worker):
        with database.connect(database_url) as own:
            for first in range(worker % 3, 40, 7):
                ingest.take_batch(own, "a1", 0, lines[: first + 1], PRICE, now=noon)
            ingest.take_batch(own, "a1", 0, lines, PRICE, now=noon)

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(send, range(6)))
    assert tokens_of(connection) == list(range(40))
    assert requests_of(connection) == 40


def test_many_spools_with_the_same_roll_ups_never_deadlock(database_url, connection, make_line, noon):
    workers, batches = 6, 12
    start = threading.Barrier(workers)

    def send(worker):
        keys = [("acme", "acme-live"), ("acme", "acme-test"), ("beta", "beta-live")]
        with database.connect(database_url) as own:
            start.wait()
            for batch in range(batches):
                order = keys if (worker + batch) % 2 else keys[::-1]
                lines = [
                    make_line(quarter * 900, account=account, key=key, model=model)
                    for account, key in order
                    for quarter in (0, 1, 2)[:: 1 if worker % 2 else -1]
                    for model in ("gpt-4o", "gpt-4o-mini")
                ]
                ingest.take_batch(own, f"spool-{worker}", batch * len(lines), lines, PRICE, now=noon)
        return batches * 18

    with ThreadPoolExecutor(workers) as threads:
        sent = sum(threads.map(send, range(workers)))
    assert requests_of(connection) == len(tokens_of(connection)) == sent


@pytest.mark.parametrize("table", ["event", "rollup_recent", "key", "spool"])
def test_a_connection_killed_during_a_batch_loses_and_duplicates_nothing(database_url, connection, lines, noon, table):
    ingest.take_batch(connection, "a1", 0, lines[:10], PRICE, now=noon)
    with (
        ThreadPoolExecutor(1) as thread,
        database.connect(database_url) as blocker,
        database.connect(database_url) as victim,
    ):
        blocker.execute(f"LOCK TABLE {table} IN EXCLUSIVE MODE")  # reads continue, but the batch blocks here
        batch = thread.submit(ingest.take_batch, victim, "a1", 5, lines[5:], PRICE, now=noon)
        await_lock(connection, victim)
        connection.execute("SELECT pg_terminate_backend(%s, 5000)", (victim.info.backend_pid,))
        with pytest.raises(psycopg.OperationalError):
            batch.result()
    assert requests_of(connection) == len(tokens_of(connection)) == ingest.find_cursor(connection, "a1") == 10
    assert ingest.take_batch(connection, "a1", 5, lines[5:], PRICE, now=noon).accepted == 30
    assert tokens_of(connection) == list(range(40))
    assert requests_of(connection) == 40


def await_lock(connection, victim):
    while not connection.execute(
        "SELECT 1 FROM pg_stat_activity WHERE pid = %s AND wait_event_type = 'Lock'", (victim.info.backend_pid,)
    ).fetchone():
        pass


def test_a_sender_that_still_has_missing_events_is_sent_back(connection, take, lines):
    take(0, lines[:4])
    receipt = take(9, lines[9:], oldest=2)
    assert (receipt.next, receipt.accepted, receipt.missing) == (4, 0, 0)
    receipt = take(9, lines[9:], oldest=7)
    assert (receipt.next, receipt.accepted, receipt.missing) == (7, 0, 0)
    receipt = take(7, lines[7:], oldest=7)
    assert (receipt.next, receipt.accepted, receipt.missing) == (40, 33, 3)
    assert tokens_of(connection) == [*range(4), *range(7, 40)]


def test_an_event_that_postgresql_cannot_store_is_refused_and_the_rest_is_ingested(connection, take, lines):
    connection.execute("ALTER TABLE event ADD CONSTRAINT odd CHECK (input_tokens <> 13) NOT VALID")
    receipt = take(0, lines)
    assert (receipt.next, receipt.accepted, receipt.refused) == (40, 39, ((13, Refusal.UNSTORABLE),))
    assert tokens_of(connection) == [number for number in range(40) if number != 13]
    assert requests_of(connection) == 39
    again = take(0, lines)
    assert (again.accepted, again.duplicates) == (0, 40)


def test_a_name_too_long_for_an_index_does_not_block_its_batch(connection, take, make_line):
    hostile = "".join(chr(0x1F300 + number % 600) for number in range(512))
    lines = [make_line(0), make_line(60, route=hostile, model=hostile[::-1]), make_line(120)]
    receipt = take(0, lines)
    assert (receipt.next, receipt.accepted) in {(3, 2), (3, 3)}  # it may fit after compression
