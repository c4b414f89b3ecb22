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
def test_dollars_are_read_as_people_write_them(text, nanousd):
    assert parse_usd(text) == nanousd


def test_a_rate_per_token_may_have_more_decimals_than_an_amount():
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
def test_what_could_mean_another_amount_is_refused(text):
    assert parse_usd(text) == text
    assert parse_integer(text) == text


@pytest.mark.parametrize(("text", "number"), [("60", 60), ("1,000", 1000), (" 7 ", 7), ("2.5", "2.5"), ("$5", "$5")])
def test_whole_numbers(text, number):
    assert parse_integer(text) == number
