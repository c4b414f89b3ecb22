from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keygauge_keyservice.portal import formatting


@pytest.mark.parametrize(
    ("number", "text"),
    [
        *((0, "0"), (999, "999"), (1000, "1k"), (1234, "1.2k"), (12_345, "12.3k"), (99_960, "100k"), (999_400, "999k")),
        *((999_999, "1M"), (1_250_000, "1.2M"), (7_300_000_000, "7.3B"), (5 * 10**15, "5000T")),
    ],
)
def test_large_numbers_are_abbreviated(number, text):
    assert formatting.short(number) == text


@pytest.mark.parametrize(("language", "text"), [("en", "1,234.5"), ("de", "1.234,5")])
def test_decimals_are_in_the_format_of_the_reader(app, language, text):
    with app.test_request_context(headers={"Accept-Language": language}):
        assert formatting.decimal(1234.54) == text


@pytest.mark.parametrize(
    ("nanousd", "text"),
    [
        (0, "$0.00"),
        (1, "< $0.0001"),
        (100_000, "$0.0001"),
        (12_345_678, "$0.0123"),
        (999_949_999, "$0.9999"),
        (1_005_000_000, "$1.00"),
        (1_015_000_000, "$1.02"),
        (1_234_567_890_123_456, "$1,234,567.89"),
    ],
)
def test_money_is_rounded_exactly(nanousd, text):
    assert formatting.money(nanousd) == text


@given(st.lists(st.integers(-(10**13), 10**13)))
def test_amounts_in_cents_add_up_and_none_is_off_by_more_than_a_cent(amounts):
    written = [Decimal(text.replace("$", "").replace(",", "")) for text in formatting.cents_of(amounts)]
    total = Decimal(formatting.cents(sum(amounts)).replace("$", "").replace(",", ""))
    assert sum(written) == total
    exact = [Decimal(amount).scaleb(-9) for amount in amounts]
    assert all(abs(cents - amount) <= Decimal("0.01") for cents, amount in zip(written, exact, strict=True))


@pytest.mark.parametrize(
    ("nanousd", "text"),
    [
        *((0, "$0.00"), (150_000_000, "$0.15"), (75_000_000, "$0.075"), (2 * 10**9, "$2.00"), (2_500_000_000, "$2.50")),
        *((37_500_000, "$0.0375"), (1, "$0.000000001"), (1_234 * 10**9, "$1,234.00"), (10_125_000_000, "$10.125")),
    ],
)
def test_prices_have_all_their_digits(nanousd, text):
    assert formatting.price(nanousd) == text


@pytest.mark.parametrize(
    ("nanousd", "text"),
    [
        *((0, "$0.00"), (500_000, "$0.0005"), (50_000_000, "$0.05"), (500_000_000, "$0.50"), (2 * 10**9, "$2.00")),
        *((100 * 10**9, "$100.00"), (20_000 * 10**9, "$20k")),
    ],
)
def test_money_on_an_axis_has_the_digits_it_needs(nanousd, text):
    assert formatting.dollars(nanousd) == text


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [(0, 0, "-"), (0, 5, "0%"), (1, 8, "12.5%"), (1, 3, "33.3%"), (1, 10**6, "< 0.1%"), (5, 5, "100%")],
)
def test_shares_are_percentages(part, whole, text):
    assert formatting.share(part, whole) == text


def test_times_have_their_zone():
    moment = datetime(2026, 11, 1, 0, 5, tzinfo=UTC)
    assert formatting.clock(moment) == "1 Nov 2026, 00:05 UTC"
    assert formatting.day(moment) == "1 Nov 2026"
    for span, text in (
        (timedelta(seconds=-3), "just now"),
        (timedelta(seconds=59), "just now"),
        (timedelta(minutes=1), "1 minute ago"),
        (timedelta(hours=5), "5 hours ago"),
        (timedelta(days=40), "40 days ago"),
    ):
        assert formatting.ago(moment, moment + span) == text


def test_durations_have_a_unit():
    assert formatting.duration(340_000) == "340 ms"
    assert formatting.duration(1_240_000) == "1.2 s"


@pytest.mark.parametrize(
    ("text", "is_worse", "kind"),
    [("no change", True, "delta same"), ("+3%", True, "delta worse"), ("-3%", False, "delta"), ("", True, None)],
)
def test_change_is_coloured_by_whether_it_is_worse(app, text, is_worse, kind):
    shown = app.jinja_env.get_template("portal/parts.html").module.delta(text, is_worse, "Compared")
    assert shown == (f'<span class="{kind}" title="Compared">{text}</span>' if kind else "")
