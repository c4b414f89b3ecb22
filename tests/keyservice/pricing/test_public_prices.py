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
        model="claude-3-5-sonnet-20241022",  # 3, 15, 0.30 and 3.75 dollars per million
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
def test_the_cost_is_none_if_model_or_usage_is_unknown(make_event, price, fields):
    assert price(make_event(**fields)) is None


def test_an_unknown_provider_is_inferred_from_the_model(make_event, price):
    assert price(make_event(provider=None)) == price(make_event(provider="openai"))
    assert price(make_event(provider="my-gateway")) == price(make_event(provider="openai"))


@pytest.mark.parametrize(
    ("model", "details", "beyond"),
    [
        ("claude-3-5-sonnet-20241022", {"cache_write_1h": 60}, 60 * (6_000 - 3_750)),
        ("claude-3-5-sonnet-20241022", {"web_searches": 3}, 3 * 10**7),
        ("claude-3-5-sonnet-20241022", {"images": 3, "unheard_of": 5}, 0),
        ("gemini-2.0-flash", {"input_audio": 100, "cache_read_audio": 0}, 100 * 600),
    ],
)
def test_a_kind_with_its_own_rate_is_charged_at_that_rate(make_event, price, model, details, beyond):
    counts = {"input_tokens": 1_000, "cache_read_tokens": 0, "cache_write_tokens": 100, "output_tokens": 50}
    plain = make_event(provider=None, model=model, **counts)
    assert price(plain._replace(details=details)).nanousd == price(plain).nanousd + beyond


def test_deep_research_costs_what_its_provider_charges(make_event, price):
    research = make_event(
        provider="perplexity",
        model="sonar-deep-research",
        input_tokens=33,
        cache_read_tokens=None,
        output_tokens=11_395 + 193_947,
        reasoning_tokens=193_947,
        details={"citations": 19_028, "web_searches": 21},
    )
    assert price(research).nanousd == 816_123_000


def test_pieces_without_a_rate_are_unpriced_rather_than_free(make_event, price):
    drawing = make_event(provider="openai", model="gpt-image-1", input_tokens=None, output_tokens=None)
    assert price(drawing._replace(details={"images": 3})) is None


def test_usage_sold_by_the_second_needs_no_tokens(make_event, price):
    event = make_event(provider="groq", model="whisper-large-v3", input_tokens=None, output_tokens=None)
    assert price(event._replace(details={"seconds": 3600})).nanousd == 111_000_000  # 0.111 dollars per hour
    assert price(event) is None


@pytest.mark.parametrize(
    ("model", "maker", "plain"),
    [
        ("deepseek-chat", "deepseek", "deepseek-chat"),
        ("grok-4", "x-ai", "grok-4-0709"),
        ("gemini-2.5-flash", "google", "gemini-2.5-flash"),
        ("models/gemini-2.5-flash", "google", "gemini-2.5-flash"),
        ("kimi-k2", "moonshotai", "kimi-k2"),
        ("command-r-plus", "cohere", "command-r-plus"),
        ("glm-4.6", "zai", "glm-4.6"),
        ("gpt-4o", "openai", "gpt-4o"),
        ("openai/gpt-4o", "openai", "gpt-4o"),
        ("azure/gpt-4o", "openai", "gpt-4o"),
        ("gpt-4o:online", "openai", "gpt-4o"),
        ("claude-sonnet-4@20250514", "anthropic", "claude-sonnet-4-0"),
        ("anthropic.claude-3-5-sonnet-20241022-v2:0", "anthropic", "claude-3-5-sonnet-20241022"),
        ("us.anthropic.claude-3-5-sonnet-20241022-v2:0", "anthropic", "claude-3-5-sonnet-20241022"),
        ("bedrock/anthropic.claude-3-haiku-20240307-v1:0", "anthropic", "claude-3-haiku-20240307"),
        ("groq/llama-3.3-70b-versatile", "groq", "llama-3.3-70b-versatile"),
        ("accounts/fireworks/models/deepseek-v3p2", "fireworks", "accounts/fireworks/models/deepseek-v3p2"),
    ],
)
@pytest.mark.parametrize("shape", ["openai", "anthropic", "cohere", "aws.bedrock", None])
def test_a_model_is_priced_regardless_of_provider_and_response_format(make_event, price, model, maker, plain, shape):
    counts = {"input_tokens": 1_000, "cache_read_tokens": 0, "output_tokens": 500}
    expected = price(make_event(provider=maker, model=plain, **counts))
    assert expected is not None
    assert price(make_event(provider=shape, model=model, **counts)) == expected


@pytest.mark.parametrize("model", ["house", "gemma", "my-model-v2", "a/b/c", "/", ":", "m" * 300, "x/" * 60])
def test_an_unlisted_model_has_no_price(make_event, price, model):
    assert price(make_event(provider="openai", model=model)) is None


def test_a_self_hosted_model_has_no_public_price(make_event, price):
    assert price(make_event(provider="ollama", model="mistral-small-latest")) is None
    assert price(make_event(provider="openai", model="mistral-small-latest")) is not None


def test_half_a_nanodollar_is_rounded_up_once_per_call(make_event):
    rates = Rates(above=-1, input=250_000, output=250_000, cache_read=0, cache_write=0, reasoning=0, request=0)
    event = make_event(cache_read_tokens=0)
    assert rates.cost_nanousd(event._replace(input_tokens=1, output_tokens=1)) == 1
    assert rates.cost_nanousd(event._replace(input_tokens=1, output_tokens=0)) == 0
    assert rates.cost_nanousd(event._replace(input_tokens=4, output_tokens=1)) == 1


def test_more_cached_than_input_tokens_never_give_a_negative_cost(make_event, price):
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
            if cost is None or provider.find_model(model.id) is not model:  # such as "regional.…", never in calls
                continue
            usage = Usage(**counts)
            expected = calc_price(usage, model.id, provider_id=provider.id, genai_request_timestamp=at).total_price
            assert abs(cost.nanousd - expected * 10**9) <= Decimal("0.51"), (provider.id, model.id)
            checked += 1
    assert checked > 2_000


def test_hostile_model_names_do_not_fill_the_memory(make_event):
    price = PublicPrices(models_max=10)
    snapshot = get_snapshot()
    before = len(snapshot._lookup_cache), len(snapshot._provider_cache), len(snapshot._provider_misses)
    for number in range(50):
        assert price(make_event(model=f"gpt-nonsense-{number}", provider=None)) is None
    assert price._find.cache_info().currsize == 10
    assert (len(snapshot._lookup_cache), len(snapshot._provider_cache), len(snapshot._provider_misses)) == before


def test_each_listed_model_has_its_own_rates():
    listed = {(provider, model): tiers for provider, model, tiers in PublicPrices().models_at(0)}
    wrong = [
        (provider.id, model.id)
        for provider in get_snapshot().providers
        for model in provider.models
        if not isinstance(model.prices, list) and isinstance(model.prices.input_mtok, Decimal)
        if listed[provider.id, model.id][0].input != round(model.prices.input_mtok * 10**9)
    ]
    assert wrong == []
