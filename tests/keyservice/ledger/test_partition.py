import threading
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from keygauge_keyservice import config, database
from keygauge_keyservice.config import SettingsError
from keygauge_keyservice.ledger import ingest as ledger
from keygauge_keyservice.ledger import partition
from keygauge_keyservice.pricing.public_prices import PublicPrices

PRICE = PublicPrices()
YEAR = 365 * 86_400

pytestmark = pytest.mark.usefixtures("metered")


def months_of(connection):
    rows = connection.execute(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'event'::regclass"
    )
    return {row["name"] for row in rows}


def test_events_are_ingested_while_old_months_are_dropped(connection, database_url, make_event, noon):
    ledger.take_events(connection, "old", 0, [make_event(-YEAR), make_event(-YEAR + 40 * 86_400)], PRICE)
    took, stop = [], threading.Event()

    def ingest():
        with database.connect(database_url) as other:
            other.autocommit = True
            while not stop.is_set():
                receipt = ledger.take_events(other, "new", len(took), [make_event(len(took))], PRICE)
                took.append(receipt.accepted)

    thread = threading.Thread(target=ingest)
    thread.start()
    try:
        with database.connect(database_url) as reader:
            reader.execute("SELECT count(*) FROM event")  # locks every month's table until the transaction ends
            with pytest.raises(partition.PartitionError, match="2025-05"):
                partition.drop_before(connection, noon - timedelta(days=200), tries=2)
            before = len(took)
        assert before > 0  # ingestion was not blocked for long
        dropped = partition.drop_before(connection, noon - timedelta(days=200))
    finally:
        stop.set()
        thread.join()
    assert [f"{month:%Y-%m}" for month in dropped] == ["2025-05", "2025-06"]
    assert months_of(connection) == {"event_2026_05"}
    row = connection.execute(
        "SELECT (SELECT count(*) FROM event) AS events, (SELECT sum(requests)::int FROM rollup) AS requests, "
        "(SELECT sum(requests)::int FROM usage_aggregate WHERE length_s = 86400 AND breakdown = 'key') AS in_aggregates"
    ).fetchone()
    # The totals still include the dropped events.
    assert row == {"events": len(took), "requests": len(took) + 2, "in_aggregates": len(took) + 2}


def test_an_event_of_a_dropped_month_gets_a_new_table(connection, make_event):
    ledger.take_events(connection, "a", 0, [make_event(-YEAR)], PRICE)
    partition.drop_before(connection, datetime(2026, 1, 1, tzinfo=UTC))
    assert ledger.take_events(connection, "a", 1, [make_event(-YEAR)], PRICE).accepted == 1


def test_retention_is_a_setting():
    assert config.retention_days({}) == 400
    assert config.retention_days({"KEYGAUGE_RETENTION_DAYS": "90"}) == 90
    for wrong in ("0", "-1", "many", "99999", "000000001999999", "9" * 5_000):
        with pytest.raises(SettingsError, match="RETENTION"):
            config.retention_days({"KEYGAUGE_RETENTION_DAYS": wrong})


def test_future_months_are_created_despite_an_open_read_transaction(connection, database_url, noon):
    partition.prepare(connection, noon, months_ahead=0)
    with database.connect(database_url) as reader:
        reader.execute("SELECT count(*) FROM event")
        partition.prepare(connection, noon, months_ahead=2)
    assert months_of(connection) == {"event_2026_05", "event_2026_06", "event_2026_07"}


def test_creating_future_months_gives_up_if_the_table_is_locked(connection, database_url, noon):
    with database.connect(database_url) as other:
        other.execute("LOCK TABLE event IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            partition.prepare(connection, noon, months_ahead=2)
    partition.prepare(connection, noon, months_ahead=2)
    assert len(months_of(connection)) == 3
