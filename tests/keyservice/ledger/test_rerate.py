from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keygauge.pricing.rates import Rates
from keygauge_keyservice.ledger import backfill, packing, rerate
from keygauge_keyservice.pricing import own_prices
from keygauge_keyservice.pricing.cost import Cost
from keygauge_keyservice.pricing.kind_costs import unpack
from keygauge_keyservice.pricing.price_book import PriceBook
from keygauge_keyservice.pricing.public_prices import PublicPrices

pytestmark = pytest.mark.usefixtures("metered")

MODELS = [None, "gpt-4o-mini", "gpt-4o", "house-model"]
START = datetime(2026, 5, 18, tzinfo=UTC)
DAYS = rerate.days_of(START, START + timedelta(days=5))
rates_of_a_tier = st.tuples(*[st.integers(0, 10**11)] * 6)
prices_set = st.lists(
    st.fixed_dictionaries(
        {
            "model": st.sampled_from(MODELS[1:]),
            "provider": st.sampled_from([None, "openai", "else"]),
            "account_id": st.sampled_from([None, "acme", "beta"]),
            "valid_from": st.integers(0, 5 * 24).map(lambda hour: START + timedelta(hours=hour)),
            "first": rates_of_a_tier,
            "large": st.none() | rates_of_a_tier,
        }
    ),
    max_size=4,
)
calls = st.lists(
    st.fixed_dictionaries(
        {
            "offset_s": st.integers(-2 * 86_400, 2 * 86_400),
            "key": st.sampled_from([("acme", "acme-live"), ("acme", "acme-test"), ("beta", "beta-live")]),
            "model": st.sampled_from(MODELS),
            "status": st.sampled_from([200, 429]),
            "input_tokens": st.none() | st.integers(0, 10**9),
            "output_tokens": st.none() | st.integers(0, 10**6),
            "cache_read_tokens": st.none() | st.integers(0, 10**6),
            "reasoning_tokens": st.none() | st.integers(0, 10**6),
        }
    ),
    min_size=1,
    max_size=12,
)


def tiers_of(price):
    first = Rates(-1, *price["first"])
    return [first] if price["large"] is None else [first, Rates(200_000, *price["large"])]


def expected_cost(event, listed):
    """Price a call in plain Python, independently of `PriceBook`."""
    at = datetime.fromtimestamp(event.time_us / 1e6, UTC)
    fitting = [
        (price["account_id"] is not None, price["provider"] is not None, price["valid_from"], number)
        for number, price in enumerate(listed)
        if price["model"] == event.model
        and price["account_id"] in {None, event.account}
        and price["provider"] in {None, event.provider}
        and price["valid_from"] <= at
    ]
    if event.model is None or (event.input_tokens is None and event.output_tokens is None):
        return None
    if not fitting:
        found = PublicPrices()(event)
        return found and found.nanousd
    price = listed[max(fitting)[3]]
    rate = price["large"] if price["large"] is not None and (event.input_tokens or 0) > 200_000 else price["first"]
    read, reasoned = event.cache_read_tokens or 0, event.reasoning_tokens or 0
    counts = (
        max((event.input_tokens or 0) - read, 0),
        max((event.output_tokens or 0) - reasoned, 0),
        read,
        0,
        reasoned,
        1,
    )
    total = sum(count * each for count, each in zip(counts, rate, strict=True))
    return (total + 500_000) // 1_000_000


def costs_of(connection):
    return [row["cost_nanousd"] for row in connection.execute("SELECT cost_nanousd FROM event ORDER BY duration_us")]


def kinds_of(connection):
    rows = connection.execute("SELECT cost_nanousd, kind_costs FROM event ORDER BY duration_us")
    return [unpack(row["cost_nanousd"] or 0, int(row["kind_costs"] or 0)) for row in rows]


def kinds_by(book, events):
    costs = [book(event) or Cost(0, "") for event in events]
    return [unpack(cost.nanousd, cost.kind_costs) for cost in costs]


def assert_sums_follow(connection):
    row = connection.execute(
        "SELECT (SELECT coalesce(sum(cost_nanousd), 0) FROM event) AS events, "
        "(SELECT coalesce(sum(cost_nanousd), 0) FROM rollup) AS rollups, "
        "(SELECT coalesce(sum(kind_costs), 0) FROM event) AS kinds_of_events, "
        "(SELECT coalesce(sum(kind_costs), 0) FROM rollup) AS kinds_of_rollups, "
        "(SELECT least(min(cost), 0) FROM (SELECT sum(cost_nanousd) AS cost FROM rollup "
        "GROUP BY bucket, account_id, key_id, route, model, status_class) AS added) AS least"
    ).fetchone()
    assert row["events"] == row["rollups"]
    assert row["kinds_of_events"] == row["kinds_of_rollups"]
    assert row["least"] == 0
    expected = "SELECT * FROM usage_aggregate_of_rollups('-infinity', 'infinity', '{900,7200,86400,604800}')"
    assert connection.execute(f"SELECT * FROM usage_aggregate EXCEPT {expected}").fetchall() == []


def run(connection, **options):
    book = PriceBook(PublicPrices())
    book.refresh(connection)
    return sum((day for _, day in rerate.run(connection, DAYS, book, actor="test", **options)), rerate.Rerated())


@given(calls=calls, before=prices_set, after=prices_set)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_re_rated_costs_follow_the_prices_and_repeating_changes_nothing(connection, make_event, calls, before, after):
    connection.execute("TRUNCATE event, rollup_recent, rollup_packed, usage_aggregate, spool, price, audit")
    book = PriceBook(PublicPrices())
    for price in before:
        options = {name: value for name, value in price.items() if name not in {"first", "large"}}
        own_prices.set_price(connection, tiers=tiers_of(price), actor="test", **options)
    book.refresh(connection)
    events = [
        make_event(
            **{**call, "account": call["key"][0], "key": call["key"][1]}, duration_us=number, cache_write_tokens=None
        )
        for number, call in enumerate(calls)
    ]
    backfill.write_history(connection, events, book, spool="test")
    assert costs_of(connection) == [expected_cost(event, before) for event in events]
    assert kinds_of(connection) == kinds_by(book, events)
    for price in after:
        options = {name: value for name, value in price.items() if name not in {"first", "large"}}
        own_prices.set_price(connection, tiers=tiers_of(price), actor="test", **options)
    packing.pack(connection, START + timedelta(days=4))  # half of the days
    first = run(connection)
    expected = [expected_cost(event, before + after) for event in events]
    assert costs_of(connection) == expected
    book.refresh(connection)
    assert kinds_of(connection) == kinds_by(book, events)
    assert first.difference_nanousd == sum(cost or 0 for cost in expected) - sum(
        expected_cost(event, before) or 0 for event in events
    )
    assert_sums_follow(connection)
    packing.pack(connection, START + timedelta(days=9))
    again = run(connection)
    assert (again.changed, again.difference_nanousd) == (0, 0)
    assert again.events == first.events
    assert costs_of(connection) == expected
    assert_sums_follow(connection)


def test_an_interrupted_run_is_audited_and_can_be_resumed(connection, make_event):
    events = [make_event(number * 86_400 - 2 * 86_400, model="house-model") for number in range(4)]
    backfill.write_history(connection, events, PublicPrices(), spool="test")
    rate = Rates(-1, 10**9, 0, 0, 0, 0, 0)
    own_prices.set_price(connection, model="House-Model", tiers=[rate], valid_from=START, actor="test")
    book = PriceBook(PublicPrices())
    book.refresh(connection)
    running = rerate.run(connection, DAYS, book, actor="test")
    next(running)
    next(running)
    running.close()  # like Ctrl-C
    assert run(connection).changed == 2
    assert costs_of(connection) == [90_000] * 4
    done = [
        row["after"]["days_done"]
        for row in connection.execute("SELECT * FROM audit WHERE action = 'price.rerate' ORDER BY id")
    ]
    assert done == [2, 5]


def test_one_account_can_be_re_rated_alone(connection, make_event):
    events = [make_event(0, model="m"), make_event(1, model="m", account="beta", key="beta-live")]
    backfill.write_history(connection, events, PublicPrices(), spool="test")
    own_prices.set_price(connection, model="m", tiers=[Rates(-1, 10**9, 0, 0, 0, 0, 0)], valid_from=START, actor="test")
    assert run(connection, account_id="beta").events == 1
    costs = connection.execute("SELECT cost_nanousd, price_version FROM event ORDER BY time").fetchall()
    assert [tuple(row.values()) for row in costs] == [(None, None), (90_000 + 0, costs[1]["price_version"])]
    assert costs[1]["price_version"].startswith("own ")
