from itertools import islice

import pytest

from keygauge_keyservice.ledger import backfill
from keygauge_keyservice.pricing.public_prices import PublicPrices

pytestmark = pytest.mark.usefixtures("metered")
PRICE = PublicPrices()


@pytest.fixture
def events(make_event):
    return [make_event(-number * 600) for number in range(25_000)]


def test_loading_a_history_again_adds_nothing(connection, events):
    assert backfill.write_history(connection, iter(events), PRICE, spool="history-1") == 25_000
    assert backfill.write_history(connection, iter(events), PRICE, spool="history-1") == 0
    row = connection.execute("SELECT count(*)::int AS n, sum(input_tokens)::int AS tokens FROM event").fetchone()
    assert row == {"n": 25_000, "tokens": 2_500_000}
    assert connection.execute("SELECT sum(requests)::int AS n FROM rollup").fetchone() == {"n": 25_000}


def test_an_interrupted_load_can_be_resumed(connection, events):
    backfill.write_history(connection, islice(events, 12_345), PRICE, spool="history-1")
    assert backfill.write_history(connection, events, PRICE, spool="history-1") == 25_000 - 12_345
    assert connection.execute("SELECT sum(requests)::int AS n FROM rollup").fetchone() == {"n": 25_000}
