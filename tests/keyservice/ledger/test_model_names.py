from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from keygauge.pricing.rates import Rates
from keygauge.tag import OTHER
from keygauge_keyservice import database
from keygauge_keyservice.ledger import ingest, model_names, rerate
from keygauge_keyservice.pricing import own_prices
from keygauge_keyservice.pricing.price_book import PriceBook
from keygauge_keyservice.pricing.public_prices import PublicPrices

pytestmark = pytest.mark.usefixtures("metered")

DAY = datetime(2026, 5, 20, tzinfo=UTC)


@pytest.fixture
def take(connection, make_event, monkeypatch):
    """`take(*models)` ingests one call per model as the next batch of a spool; a day has room for three models."""
    monkeypatch.setattr(model_names, "MOST", 3)
    taken = []

    def take(*models, offset_s=0.0, **fields):
        events = [make_event(offset_s, model=model, **fields) for model in models]
        ingest.take_events(connection, "aa", len(taken), events, PublicPrices())
        taken.extend(events)

    return take


def sums(connection, column="requests"):
    """Return the sums of a column by model, which are equal in the roll-ups and in buckets of each length."""
    found = [_sums(connection, column, "model", "rollup")]
    for length_s in (900, 7_200, 86_400, 604_800):
        own = f"(SELECT * FROM usage_aggregate WHERE breakdown = 'model' AND length_s = {length_s}) AS own"
        found.append(_sums(connection, column, "part", own))
    assert all(one == found[0] for one in found)
    return found[0]


def _sums(connection, column, name, table):
    rows = connection.execute(f"SELECT {name} AS model, sum({column}) AS total FROM {table} GROUP BY 1")
    return {row["model"]: row["total"] for row in rows}


def test_models_beyond_the_bound_are_summed_together_and_events_keep_their_names(connection, take):
    take("a", "b", None)
    take("c", "d", "a")
    take("d", "e", "c", "b")
    assert sums(connection) == {"a": 2, "b": 2, "c": 2, "": 1, OTHER: 3}
    assert sums(connection, "input_tokens")[OTHER] == 300
    rows = connection.execute("SELECT model, count(*) AS events FROM event GROUP BY 1").fetchall()
    assert {row["model"]: row["events"] for row in rows} == {"a": 2, "b": 2, "c": 2, "d": 2, "e": 1, None: 1}


def test_each_day_and_account_has_its_own_bound(connection, take):
    take("a", "b", "c", "d")
    take("d", "e", offset_s=86_400)
    assert sums(connection) == {"a": 1, "b": 1, "c": 1, "d": 1, "e": 1, OTHER: 1}
    take("d", account="beta", key="beta-live")
    assert sums(connection)["d"] == 2


def test_kinds_of_use_are_under_the_same_name(connection, take):
    take("a", "b", "c", "d", details={"images": 2})
    rows = connection.execute("SELECT model, count FROM usage_kind WHERE length_s = 900").fetchall()
    assert {row["model"]: row["count"] for row in rows} == {"a": 2, "b": 2, "c": 2, OTHER: 2}


def test_batches_at_the_same_time_do_not_exceed_the_bound(database_url, connection, make_event, monkeypatch):
    monkeypatch.setattr(model_names, "MOST", 10)

    def take(number):
        with database.connect(database_url) as own:
            own.autocommit = True
            for first in range(5):
                events = [make_event(model=f"{number}-{first}"), make_event(model=f"{(number + 1) % 8}-{first}")]
                ingest.take_events(own, f"{number:02x}", 2 * first, events, PublicPrices())

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(take, range(8)))
    found = sums(connection)
    assert len(found) == 11
    assert sum(found.values()) == 80
    named = {name: count for name, count in found.items() if name != OTHER}
    calls = connection.execute("SELECT model, count(*) AS calls FROM event GROUP BY 1").fetchall()
    assert named == {row["model"]: row["calls"] for row in calls if row["model"] in named}


def test_re_rating_changes_the_sums_that_contain_the_calls(connection, take):
    take("a", "b", "c", "mine", "mine", provider=None)
    own_prices.set_price(
        connection, model="mine", tiers=[Rates(-1, 10**9, 0, 0, 0, 0, 0)], valid_from=DAY, actor="test"
    )
    book = PriceBook(PublicPrices())
    book.refresh(connection)
    list(rerate.run(connection, [DAY], book, actor="test"))
    assert sums(connection, "cost_nanousd") == {"a": 0, "b": 0, "c": 0, OTHER: 180_000}
