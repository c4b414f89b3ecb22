from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from keygauge.pricing.rates import Rates
from keygauge.tag import OTHER
from keygauge_keyservice import database
from keygauge_keyservice.ledger import ingest, rerate, tags
from keygauge_keyservice.pricing import own_prices
from keygauge_keyservice.pricing.price_book import PriceBook
from keygauge_keyservice.pricing.public_prices import PublicPrices

pytestmark = pytest.mark.usefixtures("metered")

PRICE = PublicPrices()
DAY = datetime(2026, 5, 20, tzinfo=UTC)


@pytest.fixture
def take(connection, make_event):
    """`take(*calls)` ingests calls, given as (seconds after noon, tag), as the next batch of a spool."""
    taken = []

    def take(*calls, **fields):
        events = [make_event(offset_s, tag=tag, **fields) for offset_s, tag in calls]
        ingest.take_events(connection, "aa", len(taken), events, PRICE)
        taken.extend(events)

    return take


def sums(connection, length_s, column="requests"):
    """Return the sums of a column by tag, in buckets of one length."""
    rows = connection.execute(
        f"SELECT tag, sum({column}) AS total FROM usage_tag WHERE length_s = %s GROUP BY tag", (length_s,)
    )
    return {row["tag"]: row["total"] for row in rows}


def assert_lengths_agree(connection):
    for column in ("requests", "input_tokens", "cost_nanousd", "duration_us", "durations", "kind_costs"):
        assert sums(connection, 900, column) == sums(connection, 86_400, column)


def test_calls_are_summed_by_tag_and_untagged_calls_add_no_rows(connection, take):
    take((0, None), (1, None))
    assert sums(connection, 900) == {}
    take((0, "alice"), (0, "bob"), (3_600, "alice"), (0, None))
    take((1, "alice"))
    assert sums(connection, 900) == {"alice": 3, "bob": 1}
    assert sums(connection, 86_400, "input_tokens") == {"alice": 300, "bob": 100}
    assert_lengths_agree(connection)
    assert connection.execute(
        "SELECT count(*) AS n FROM usage_tag WHERE tag = 'alice' AND length_s = 900"
    ).fetchone() == {"n": 2}


@pytest.mark.parametrize(
    "tag", ["a,b", "O'Brien'; DROP TABLE usage_tag;--", 'x"y\\z', "日本 Zoë", "x" * 128, "{}", "NULL"]
)
def test_hostile_tags_are_stored_unchanged(connection, take, tag):
    take((0, tag), (1, tag))
    assert sums(connection, 86_400) == {tag: 2}
    assert [row["tag"] for row in connection.execute("SELECT tag FROM event")] == [tag, tag]


def test_new_pairs_on_a_full_day_count_as_other(connection, take, monkeypatch):
    monkeypatch.setattr(tags, "MOST", 3)
    take((0, "alice"), (0, "bob"))
    take(*[(0, f"u{number}") for number in range(5)], (1, "u4"), (2, "bob"))
    counted = sums(connection, 86_400)
    assert counted == {"alice": 1, "bob": 2, "u4": 2, OTHER: 4}  # the busiest new pair got the last place
    assert_lengths_agree(connection)
    take((86_400, "u1"))  # another day has room
    assert sums(connection, 86_400)["u1"] == 1
    take((0, "x"), account="beta", key="beta-live")  # and so has another account
    assert sums(connection, 86_400)["x"] == 1


def test_folding_keeps_the_busiest_half_and_all_totals(connection, take):
    take(*[(900 * number, "alice") for number in range(5)], *[(0, "bob")] * 3, (0, "carl"), (1_000, "dora"))
    take((0, "alice"), key="acme-test")
    before = [sum(sums(connection, length_s, "cost_nanousd").values()) for length_s in tags.LENGTHS_S]
    assert tags.fold(connection, DAY + timedelta(hours=30), most=6) == 0  # not full
    assert tags.fold(connection, DAY + timedelta(hours=30), most=5) == 1
    assert sums(connection, 86_400) == {"alice": 5, "bob": 3, OTHER: 3}
    assert_lengths_agree(connection)
    assert [sum(sums(connection, length_s, "cost_nanousd").values()) for length_s in tags.LENGTHS_S] == before
    take((0, "carl"))
    assert tags.fold(connection, DAY + timedelta(hours=30), most=2) == 1  # again, in addition to what was folded before
    assert sums(connection, 86_400) == {"alice": 5, OTHER: 7}
    assert_lengths_agree(connection)


def test_re_rating_rewrites_the_costs_by_tag(connection, take):
    take((0, "alice"), (900, "bob"), (1, None), model="house-model")
    take((0, "carl"), model=None)
    assert set(sums(connection, 86_400, "cost_nanousd").values()) == {0}
    tags.fold(connection, DAY + timedelta(hours=30), most=2)
    assert sums(connection, 86_400)[OTHER] == 2
    own_prices.set_price(
        connection, model="house-model", tiers=[Rates(-1, 10**9, 0, 0, 0, 0, 0)], valid_from=DAY, actor="test"
    )
    book = PriceBook(PublicPrices())
    book.refresh(connection)
    list(rerate.run(connection, [DAY], book, actor="test"))
    assert sums(connection, 86_400, "cost_nanousd") == {"alice": 90_000, "bob": 90_000, "carl": 0}
    assert sums(connection, 86_400) == {"alice": 1, "bob": 1, "carl": 1}  # separate again, since there is room
    assert_lengths_agree(connection)


def test_concurrent_batches_lose_nothing(database_url, connection, make_event):
    def send(number):
        with database.connect(database_url) as own:
            own.autocommit = True
            for first in range(0, 40, 4):
                events = [make_event(number, tag=f"u{(first + n) % 7}") for n in range(4)]
                ingest.take_events(own, f"{number:02x}", first, events, PRICE)
                tags.fold(own, DAY + timedelta(hours=30), most=6)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(send, range(4)))
    assert sum(sums(connection, 86_400).values()) == 160
    assert_lengths_agree(connection)
    assert Counter(row["tag"] for row in connection.execute("SELECT tag FROM event"))["u0"] == 24
