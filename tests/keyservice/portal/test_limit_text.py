from datetime import date

import pytest

from keygauge.weights import Weights
from keygauge_keyservice.accounts.plans import Limit
from keygauge_keyservice.portal import limit_text


@pytest.mark.parametrize(
    ("limit", "text"),
    [
        (Limit(name="rpm", unit="request", amount=600, window_s=60), "600 requests per minute"),
        (Limit(name="tpm", unit="token", amount=900, window_s=60, subject="key"), "900 tokens per minute, per key"),
        (Limit(name="x", unit="request", amount=5, period="day", per_tag=True), "5 requests per day, per tag"),
        (
            Limit(name="x", unit="request", amount=5, window_s=60, subject="key", per_tag=True),
            "5 requests per minute, per key, per tag",
        ),
        (Limit(name="x", unit="request", amount=5, window_s=90), "5 requests per 90 seconds"),
        (Limit(name="x", unit="nanousd", amount=10**9, window_s=3600), "$1.00 per hour"),
        (Limit(name="x", unit="concurrent", amount=8), "8 concurrent requests"),
        (Limit(name="x", unit="request", amount=1, window_s=60), "1 request per minute"),
        (Limit(name="x", unit="token", amount=10**6, period="day"), "1,000,000 tokens per day"),
        (Limit(name="x", unit="request", amount=9, period="hour"), "9 requests per clock hour"),
        (Limit(name="x", unit="request", amount=9, period="quarter"), "9 requests per quarter"),
        (Limit(name="x", unit="request", amount=9, period="lifetime"), "9 requests total"),
        (
            Limit(name="x", unit="request", amount=9, period="month", anchor=date(2026, 1, 15), zone="Europe/Berlin"),
            "9 requests per month from 15 Jan 2026 (Europe/Berlin)",
        ),
        (
            Limit(
                name="x",
                unit="weighted",
                amount=900,
                period="month",
                weights=Weights(input=1, output=4),
                unit_name="points",
            ),
            "900 points (input+4*output) per month",
        ),
        (Limit(name="x", unit="nanousd", amount=20 * 10**9, period="month"), "$20.00 per month"),
        (
            Limit(name="x", unit="nanousd", amount=5 * 10**9, period="month", credit_nanousd=10**7),
            "500 credits per month",
        ),
    ],
)
def test_rates_are_described_in_words(limit, text):
    assert limit_text.rate(limit) == text


@pytest.mark.parametrize(
    ("limit", "is_own", "text"),
    [
        (
            Limit(name="x", unit="request", amount=20_000, period="month", model="gpt-4o"),
            False,
            "20,000 requests per month, model gpt-4o only",
        ),
        (
            Limit(name="x", unit="request", amount=9, window_s=1, route="/a", model="m", dry_run=True),
            False,
            "9 requests per second, endpoint /a and model m only (dry run)",
        ),
        (Limit(name="x", unit="request", amount=9, window_s=1, subject="key"), True, "9 requests per second"),
        (Limit(name="x", unit="request", amount=9, window_s=1, subject="key"), False, "9 requests per second, per key"),
    ],
)
def test_description_includes_what_the_limit_applies_to(limit, is_own, text):
    assert limit_text.describe(limit, is_own=is_own) == text
