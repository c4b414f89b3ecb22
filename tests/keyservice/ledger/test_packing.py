from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keygauge_keyservice import database
from keygauge_keyservice.ledger import backfill, packing, rollup
from keygauge_keyservice.pricing.public_prices import PublicPrices

pytestmark = pytest.mark.usefixtures("metered")

PRICE = PublicPrices()
DAY = timedelta(days=1)
SUMS = (
    "requests, limited, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens, "
    "request_bytes, response_bytes, cost_nanousd, duration_us, durations, kind_costs"
)
calls = st.lists(
    st.fixed_dictionaries(
        {
            "offset_s": st.integers(-3 * 86_400, 3 * 86_400),
            "key": st.sampled_from(["acme-live", "acme-test"]),
            "model": st.sampled_from([None, "gpt-4o"]),
            "status": st.sampled_from([200, 404, 429]),
            "outcome": st.sampled_from(["admitted", "limited"]),
            "input_tokens": st.sampled_from([None, 0, 5, 1 << 40]),
            "cache_read_tokens": st.sampled_from([None, 3]),
            "duration_us": st.sampled_from([0, 5_000, 1 << 42]),
        }
    ),
    max_size=20,
)


@pytest.fixture
def rollups(connection):
    """`rollups()` returns the roll-ups, with rows of the same group added up."""
    added = ", ".join(f"sum({name}) AS {name}" for name in SUMS.split(", "))

    def find():
        return connection.execute(
            f"SELECT half_day, bucket, account_id, key_id, route, model, status_class, {added} FROM rollup "
            "GROUP BY 1, 2, 3, 4, 5, 6, 7 ORDER BY 1, 2, 3, 4, 5, 6, 7"
        ).fetchall()

    return find


@pytest.fixture
def count(connection):
    return lambda table: connection.execute(f"SELECT count(*)::int AS n FROM {table}").fetchone()["n"]


@pytest.fixture
def late(connection, make_event, noon):
    """`late(offset_s, spool)` ingests a call `offset_s` seconds after noon."""

    def take(offset_s, spool, *, connection=connection):
        backfill.write_history(connection, [make_event(offset_s)], PRICE, spool=spool)

    return take


@given(batches=st.lists(st.tuples(calls, st.integers(-3, 6)), min_size=1, max_size=4))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_packing_preserves_the_roll_ups(connection, make_event, noon, rollups, count, batches):
    connection.execute("TRUNCATE event, rollup_recent, rollup_packed, usage_aggregate, spool")
    for number, (batch, days) in enumerate(batches):
        backfill.write_history(connection, [make_event(**call) for call in batch], PRICE, spool=f"test{number}")
        before = rollups()
        packing.pack(connection, noon + days * DAY)
        assert rollups() == before
        assert packing.pack(connection, noon + days * DAY) == 0
    packing.pack(connection, noon + 9 * DAY)
    assert count("rollup_recent") == 0
    assert count("rollup") == len(rollups())


def test_a_half_day_stays_open_for_a_day(connection, late, noon, count):
    late(0, "a")
    assert packing.pack(connection, noon + 1.5 * DAY - timedelta(seconds=1)) == 0
    assert packing.pack(connection, noon + 1.5 * DAY) == 1
    assert (count("rollup_recent"), count("rollup_packed")) == (0, 1)


@pytest.fixture
def others(database_url):
    with database.connect(database_url) as first, database.connect(database_url) as second:
        yield first, second


def await_lock(connection, waiting):
    while not connection.execute(
        "SELECT 1 FROM pg_stat_activity WHERE pid = %s AND wait_event_type = 'Lock'", (waiting.info.backend_pid,)
    ).fetchone():
        pass


def test_a_late_batch_waits_for_packing_and_is_complete(connection, others, late, noon, rollups):
    late(0, "a")
    packer, sender = others
    with ThreadPoolExecutor(1) as thread:
        with packer.transaction():
            packing.pack(packer, noon + 2 * DAY)
            batch = thread.submit(late, 1, "b", connection=sender)
            await_lock(connection, sender)
        batch.result()
    assert [row["requests"] for row in rollups()] == [2]


def test_packing_waits_for_a_late_batch_and_includes_it(connection, others, late, make_event, noon, rollups, count):
    late(0, "a")
    packer, sender = others
    packer.autocommit = True
    sums = rollup.Sums()
    sums.add(make_event(1), None)
    with ThreadPoolExecutor(1) as thread:
        with sender.transaction():
            rollup.write(sender, sums.groups)
            packed = thread.submit(packing.pack, packer, noon + 2 * DAY)
            await_lock(connection, packer)
        assert packed.result() == 1
    assert [row["requests"] for row in rollups()] == [2]
    assert (count("rollup_recent"), count("rollup_packed")) == (0, 1)
