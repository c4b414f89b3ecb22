from datetime import UTC, datetime
from decimal import Decimal

import pytest
from genai_prices import Usage, calc_price
from genai_prices.data_snapshot import get_snapshot

from keygauge.pricing.rates import Rates
from keygauge_keyservice.pricing.public_prices import PublicPrices


@pytest.fixture(scope="module")
def price():
    return PublicPrices()


def test_each_kind_of_token_has_its_own_rate(make_event, price):
    event = make_event(
        provider="anthropic",
        model="claude-3-5-sonnet-20241022",  # 3, 15, 0.30 and 3.75 dollars a million
        input_tokens=1_000,
        cache_read_tokens=300,
        cache_write_tokens=100,
        output_tokens=50,
        reasoning_tokens=20,
    )
    cost = price(event)
    assert cost.nanousd == 600 * 3_000 + 300 * 300 + 100 * 3_750 + 50 * 15_000
    assert cost.price_version.startswith("genai-prices ")


@pytest.mark.parametrize(
    "fields",
    [
        {"model": None},
        {"model": "made-up-model"},
        {"model": "made-up-model", "provider": None},
        {"input_tokens": None, "output_tokens": None, "cache_read_tokens": None},
    ],
)
def test_what_is_not_known_has_no_cost_rather_than_none_to_pay(make_event, price, fields):
    assert price(make_event(**fields)) is None


def test_a_provider_that_is_not_known_is_guessed_from_the_model(make_event, price):
    assert price(make_event(provider=None)) == price(make_event(provider="openai"))
    assert price(make_event(provider="my-gateway")) == price(make_event(provider="openai"))


def test_half_a_nanodollar_is_rounded_up_once_a_call(make_event):
    rates = Rates(above=-1, input=250_000, output=250_000, cache_read=0, cache_write=0, reasoning=0, request=0)
    event = make_event(cache_read_tokens=0)
    assert rates.cost_nanousd(event._replace(input_tokens=1, output_tokens=1)) == 1
    assert rates.cost_nanousd(event._replace(input_tokens=1, output_tokens=0)) == 0
    assert rates.cost_nanousd(event._replace(input_tokens=4, output_tokens=1)) == 1


def test_more_cached_than_input_tokens_never_makes_a_negative_part(make_event, price):
    event = make_event(input_tokens=1, cache_read_tokens=100, output_tokens=1, reasoning_tokens=50)
    assert price(event).nanousd == 100 * 75 + 50 * 600


def test_every_model_costs_what_its_price_list_says(make_event, price):
    checked = 0
    for provider in get_snapshot().providers:
        for number, model in enumerate(provider.models):
            counts = {
                "input_tokens": 1_000 + number * 7_919 % 400_000,
                "cache_read_tokens": number * 31 % 900,
                "cache_write_tokens": number * 17 % 100,
                "output_tokens": 1 + number * 13,
            }
            event = make_event(provider=provider.id, model=model.id, **counts)
            at = datetime.fromtimestamp(event.time_us / 1_000_000, UTC)
            cost = price(event)
            if cost is None:
                continue
            usage = Usage(**counts)
            expected = calc_price(usage, model.id, provider_id=provider.id, genai_request_timestamp=at).total_price
            assert abs(cost.nanousd - expected * 10**9) <= Decimal("0.51"), (provider.id, model.id)
            checked += 1
    assert checked > 2_000


def test_hostile_model_names_fill_no_memory(make_event):
    price = PublicPrices(models_max=10)
    snapshot = get_snapshot()
    before = len(snapshot._lookup_cache), len(snapshot._provider_cache), len(snapshot._provider_misses)
    for number in range(50):
        assert price(make_event(model=f"gpt-nonsense-{number}", provider=None)) is None
    assert price._find.cache_info().currsize == 10
    assert (len(snapshot._lookup_cache), len(snapshot._provider_cache), len(snapshot._provider_misses)) == before
