import pytest

from keygauge.pricing.rates import Rates
from keygauge_keyservice.portal import price_text


@pytest.mark.parametrize(
    ("details", "text"),
    [
        ({}, ""),
        ({"web_searches": 10_000_000_000_000}, "Web searches: $0.01 each"),
        ({"file_searches": 2_500_000_000_000}, "File searches: $0.0025 each"),
        (
            {"web_searches": 10_000_000_000_000, "cache_write_1h": 6_000_000_000},
            "Cache writes, one hour: $6.00 per million; Web searches: $0.01 each",
        ),
    ],
)
def test_other_rates_are_listed_with_their_units(details, text):
    assert price_text.other_rates(Rates(-1, 0, 0, 0, 0, 0, 0, details)) == text
