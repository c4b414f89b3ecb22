from datetime import UTC, datetime, timedelta

import pytest

from keygauge.pricing.rates import Rates
from keygauge_keyservice.portal import unpriced
from keygauge_keyservice.pricing import own_prices
from keygauge_keyservice.usage.sums import UsageSums

FREE = Rates(above=-1, input=0, output=0, cache_read=0, cache_write=0, reasoning=0, request=0)


@pytest.fixture
def use(customer, record):
    """`use(model)` records a call of the last minutes."""

    def use(model):
        now = datetime.now(UTC) - timedelta(minutes=1)
        record(customer, {"model": model, "provider": None, "time_us": int(now.timestamp() * 1_000_000)})

    return use


@pytest.fixture
def set_free(connection):
    """`set_free(model)` sets a price of zero, before the calls."""

    def set_free(model):
        start = datetime.now(UTC) - timedelta(days=2)
        own_prices.set_price(
            connection, model=model, tiers=[FREE], valid_from=start, provider=None, account_id=None, actor="test"
        )

    return set_free


def cost(page):
    return page.partition("Estimated cost")[2][:200]


@pytest.mark.parametrize("path", ["/", "/usage?range=24h", "/usage?range=24h&group=key", "/keys/{key}"])
def test_a_free_model_costs_nothing_and_an_unpriced_one_an_unknown_amount(signed_in, customer, use, set_free, path):
    set_free("house-model")
    use("house-model")
    page = signed_in.get(path.format(key=customer.key.id)).text
    assert "$0.00" in page
    assert not any(text in page for text in ("Unknown", "Price unknown", "no price"))
    use("other-model")
    page = signed_in.get(path.format(key=customer.key.id)).text
    assert "Unknown" in page or "Price unknown" in page


def test_only_the_unpriced_model_of_a_breakdown_has_an_unknown_price(signed_in, use, set_free):
    set_free("house-model")
    for model in ("house-model", "other-model", "gpt-4o-mini"):
        use(model)
    page = signed_in.get("/usage?range=24h&group=model").text
    assert "no price for other-model" in page
    assert page.count("Price unknown") == 1


@pytest.mark.parametrize(
    ("sums", "is_free"),
    [
        (UsageSums(requests=3), False),  # nothing to pay for
        (UsageSums(requests=3, output_tokens=1), True),
        (UsageSums(requests=3, output_tokens=1, cost_nanousd=1), False),
    ],
)
def test_calls_are_free_if_they_used_tokens_and_cost_nothing(sums, is_free):
    assert unpriced.is_free(sums) == is_free
