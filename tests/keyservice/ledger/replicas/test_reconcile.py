from datetime import timedelta

import pytest

from keygauge_keyservice.ledger import backfill
from keygauge_keyservice.ledger.replicas.reconcile import find_drift
from keygauge_keyservice.pricing.public_prices import PublicPrices

LAST = "bucket = (SELECT max(bucket) FROM rollup)"

pytestmark = pytest.mark.usefixtures("metered")


@pytest.fixture
def taken(connection, metered, make_event, noon):
    events = [make_event(number * 1_800) for number in range(6)]
    backfill.write_history(connection, events, PublicPrices(), spool="test")
    return noon - timedelta(days=1), noon + timedelta(days=1)


def test_what_was_taken_agrees(connection, taken):
    assert find_drift(connection, *taken) == []


@pytest.mark.parametrize(
    ("breakage", "part"),
    [
        ("DELETE FROM event WHERE time = (SELECT max(time) FROM event)", "events"),
        (f"UPDATE rollup_recent SET input_tokens = input_tokens + 1 WHERE {LAST}", "rollups"),
        (f"UPDATE rollup_recent SET kind_costs = kind_costs + 1 WHERE {LAST}", "rollups"),
        (
            f"UPDATE usage_aggregate SET cost_nanousd = 0 WHERE length_s = 900 AND breakdown = 'status' AND {LAST}",
            "usage_aggregates",
        ),
    ],
)
def test_a_part_that_was_tampered_with_is_found(connection, taken, noon, breakage, part):
    connection.execute(breakage)
    [drift] = find_drift(connection, *taken)
    assert (drift.hour, drift.account_id) == (noon + timedelta(hours=2), "acme")
    sums = {name: getattr(drift, name) for name in ("events", "rollups", "usage_aggregates")}
    assert sums.pop(part) not in sums.values()
    assert len(set(sums.values())) == 1
