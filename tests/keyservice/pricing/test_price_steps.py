from datetime import UTC, datetime, timedelta

import pytest
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import TimeOfDateConstraint
from hypothesis import given
from hypothesis import strategies as st

from keygauge.pricing.rates import Rates, cost_nanousd
from keygauge.protocol import PriceName
from keygauge_keyservice.pricing import own_prices
from keygauge_keyservice.pricing.price_book import PriceBook
from keygauge_keyservice.pricing.price_steps import AHEAD, BEFORE, price_steps
from keygauge_keyservice.pricing.public_prices import PublicPrices

NOW = datetime(2026, 5, 20, 12, 0, tzinfo=UTC)
PUBLIC = PublicPrices()


def micros(moment):
    return int(moment.timestamp() * 1_000_000)


def holding(steps, time_us):
    """Return the version and tiers that a replica uses for a call."""
    _, version, tiers = next((step for step in reversed(steps) if step[0] <= time_us), steps[0])
    return version, [Rates(*tier) for tier in tiers]


@pytest.fixture
def book(connection):
    def book():
        made = PriceBook(PUBLIC)
        made.refresh(connection)
        return made

    return book


@pytest.fixture
def own(connection):
    def own(rate, **terms):
        terms = {"model": "m", "valid_from": NOW - timedelta(days=9)} | terms
        return own_prices.set_price(connection, tiers=[Rates(-1, *[rate] * 6)], actor="test", **terms)

    return own


def test_a_public_price_is_one_step_of_integers(book):
    [[from_us, version, [tier]]] = price_steps(book(), PriceName(None, "openai", "gpt-4o-mini"), now=NOW)
    assert tier[:4] == [-1, 150_000_000, 600_000_000, 75_000_000]
    assert version == PUBLIC.version
    assert from_us == micros(NOW - BEFORE)


def test_a_model_without_a_price_has_no_steps(book):
    assert price_steps(book(), PriceName(None, None, "made-up"), now=NOW) == []


@pytest.mark.usefixtures("metered")
def test_a_future_price_is_a_step_with_its_start_time(book, own):
    first, later = own(5), own(7, valid_from=NOW + timedelta(hours=1))
    own(9, valid_from=NOW + timedelta(days=3))
    own(3, account_id="acme", valid_from=NOW - timedelta(hours=1))
    own(2, provider="x")
    steps = price_steps(book(), PriceName(None, None, "M"), now=NOW)
    assert [version for _, version, _ in steps] == [first.version, later.version]
    assert steps[1][0] == micros(NOW + timedelta(hours=1))
    account = price_steps(book(), PriceName("acme", None, "m"), now=NOW)
    assert [tiers[0][1] for _, _, tiers in account] == [5, 3]
    assert [step[2][0][1] for step in price_steps(book(), PriceName("beta", "X", "m"), now=NOW)] == [2]


def all_names():
    return [(provider.id, model.id) for provider in get_snapshot().providers for model in provider.models]


def changing_names():
    return [
        (provider.id, model.id)
        for provider in get_snapshot().providers
        for model in provider.models
        if isinstance(model.prices, list)
        and any(isinstance(price.constraint, TimeOfDateConstraint) for price in model.prices)
    ]


@given(
    name=st.sampled_from(all_names()) | st.sampled_from(changing_names()),
    offset_s=st.integers(-int(BEFORE.total_seconds()), int(AHEAD.total_seconds()) - 1),
    counts=st.tuples(*[st.integers(0, 10**6)] * 5),
    hour=st.integers(0, 24 * 400),
)
def test_steps_price_calls_like_the_ledger(name, offset_s, counts, hour):
    now = NOW + timedelta(hours=hour)
    provider, model = name
    call = _Call(provider, model, micros(now + timedelta(seconds=offset_s)), *counts)
    expected = PUBLIC(call)
    steps = price_steps(PriceBook(PUBLIC), PriceName(None, provider, model), now=now)
    assert (expected is None) == (steps == [])
    if expected is not None:
        version, tiers = holding(steps, call.time_us)
        assert (cost_nanousd(tiers, call), version) == expected[:2]


class _Call:
    def __init__(self, provider, model, time_us, given, made, read, written, reasoned):
        self.provider, self.model, self.time_us = provider, model, time_us
        self.input_tokens, self.output_tokens = given, made
        self.cache_read_tokens, self.cache_write_tokens, self.reasoning_tokens = read, written, reasoned
        self.details = None
