import pytest
from hypothesis import given
from hypothesis import strategies as st

from keygauge.kinds import BY_ONE
from keygauge.pricing.rates import Rates
from keygauge_keyservice.errors import Problem
from keygauge_keyservice.pricing.price_terms import PriceTerms, parse_tiers
from keygauge_keyservice.pricing.tier_text import write_tiers
from keygauge_keyservice.reading import read


def test_a_kind_without_a_rate_costs_what_it_is_part_of():
    (rates,) = parse_tiers(["input=3,output=15"])
    assert (rates.above, rates.input, rates.output) == (-1, 3_000_000_000, 15_000_000_000)
    assert (rates.cache_read, rates.cache_write, rates.reasoning, rates.request) == (
        *(rates.input, rates.input, rates.output, 0),
    )
    (rates,) = parse_tiers(["input=3,cache_read=0,reasoning=1"])
    assert (rates.cache_read, rates.reasoning) == (0, 1_000_000_000)


def test_kinds_sold_by_the_piece_have_a_price_per_unit():
    (rates,) = parse_tiers(["request=0.01,images=0.04,input_audio=100"])
    assert rates.request == 10_000_000 * 10**6
    assert rates.details == {"images": 40_000_000 * 10**6, "input_audio": 100_000_000_000}
    assert "images" in BY_ONE


def test_tiers_are_sorted_and_the_first_applies_to_every_size():
    rates = parse_tiers(["200000:input=6", "0:input=3"])
    assert [(one.above, one.input) for one in rates] == [(-1, 3_000_000_000), (200_000, 6_000_000_000)]


@pytest.mark.parametrize(
    "tiers",
    [
        [],
        ["input"],
        ["input=-1"],
        ["input=nan"],
        ["input=x"],
        ["inptu=3"],
        ["input=1001"],
        ["request=101"],
        ["5:input=3"],
        ["input=3", "input=4"],
        ["input=3", "x:input=4"],
        ["input=3", "٣:input=4"],
        ["input=0.0000000001"],
        ["input=3", *(f"{number}:input=3" for number in range(1, 11))],
    ],
)
def test_invalid_tiers_are_rejected(tiers):
    with pytest.raises(Problem):
        parse_tiers(tiers)


RATE = st.integers(0, 10**12)


@given(st.lists(st.tuples(st.integers(1, 10**9), RATE, RATE), max_size=3, unique_by=lambda tier: tier[0]), RATE)
def test_formatted_tiers_can_be_parsed_back(larger, smallest):
    tiers = [{"input": smallest}, *({"above": size, "input": one, "output": two} for size, one, two in larger)]
    rates = read(PriceTerms, {"tiers": tiers}).rates()
    lines = [line.replace("free", "input=0") for line in write_tiers([one.to_json() for one in rates]).splitlines()]
    assert parse_tiers(lines) == rates


def test_dollars_are_converted_to_integer_nano_dollars_per_million():
    assert parse_tiers(["input=2.5,output=10,request=0.001", "200000:input=5,cache_read=0.5"]) == [
        Rates(-1, 2_500_000_000, 10**10, 2_500_000_000, 2_500_000_000, 10**10, 10**12),
        Rates(200_000, 5 * 10**9, 0, 5 * 10**8, 5 * 10**9, 0, 0),
    ]
