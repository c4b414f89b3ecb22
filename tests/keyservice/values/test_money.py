import pytest

from keygauge_keyservice.values.money import parse_integer, parse_usd


@pytest.mark.parametrize(
    ("text", "nanousd"),
    [
        ("25.50", 25_500_000_000),
        ("$25", 25 * 10**9),
        (" 2,550 ", 2_550 * 10**9),
        ("1,000,000.5", 1_000_000_500_000_000),
    ],
)
def test_dollar_amounts_are_parsed(text, nanousd):
    assert parse_usd(text) == nanousd


def test_rate_per_token_may_have_more_decimals_than_an_amount():
    assert parse_usd("0.0000000001", times=10**6) == 100_000
    assert parse_usd("0.0000000001") == "0.0000000001"


@pytest.mark.parametrize(
    "text",
    [
        "25,50",
        "1,00,000",
        ",5",
        "1,",
        "1_000",
        "1e3",
        "-3",
        "+3",
        "nan",
        "Infinity",
        ".5",
        "5.",
        "",
        "$",
        "٣",
        "9" * 40,
    ],
)
def test_ambiguous_or_invalid_amounts_are_returned_as_text(text):
    assert parse_usd(text) == text
    assert parse_integer(text) == text


@pytest.mark.parametrize(("text", "number"), [("60", 60), ("1,000", 1000), (" 7 ", 7), ("2.5", "2.5"), ("$5", "$5")])
def test_integers_are_parsed(text, number):
    assert parse_integer(text) == number
