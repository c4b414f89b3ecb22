from datetime import timedelta

import pytest

from keygauge_keyservice.accounts import plans
from keygauge_keyservice.ledger import ingest
from keygauge_keyservice.pricing.public_prices import PublicPrices
from keygauge_keyservice.usage.failures import Failures, find_failures
from keygauge_keyservice.usage.live_rates import find_pace

RATES = [
    plans.Limit(name="rpm", unit="request", amount=60, window_s=60),
    plans.Limit(name="tph", unit="token", amount=9000, window_s=3600, model="gpt-4o-mini"),
    plans.Limit(name="each", unit="request", amount=5, window_s=60, subject="key"),
    plans.Limit(name="daily", unit="request", amount=5, period="day"),
]


@pytest.fixture
def now(connection, metered, make_line, noon):
    """Calls of two keys in the last hour: three a moment ago, one refused, four that failed."""
    plans.replace_limits(connection, "ledger", RATES, actor="test")
    calls = [make_line(-1800, key="acme-test")]
    calls += [make_line(-30), make_line(-20, key="acme-test"), make_line(-10, model="o3")]
    calls += [make_line(-5, status=429, outcome="limited", input_tokens=None, output_tokens=None)]
    calls += [make_line(-900 + second, status=500, error="ValueError") for second in range(4)]
    ingest.take_batch(connection, "a1", 0, calls, PublicPrices(), now=noon + timedelta(seconds=1))
    return noon


def test_an_accounts_calls_are_counted_in_the_window_of_each_rate(connection, now):
    pace = find_pace(connection, "acme", now=now)
    assert (pace.requests_per_minute, pace.tokens_per_minute) == (3, 900)
    assert {rate.name: rate.used for rate in pace.rates} == {"rpm": 3, "tph": 7 * 300}


def test_a_keys_calls_are_its_own(connection, now):
    pace = find_pace(connection, "acme", key_id="acme-test", now=now)
    assert {rate.name: rate.used for rate in pace.rates} == {"each": 1}
    assert find_pace(connection, "beta", key_id="acme-test", now=now).requests_per_minute == 0


def test_failures_of_one_kind_belong_together_and_a_few_are_none(connection, now):
    found = find_failures(connection, "acme", now=now)
    assert found == [Failures(500, "ValueError", "192.0.2.1", "acme-live", 4)]
    assert find_failures(connection, "acme", now=now + timedelta(hours=1)) == []
    assert find_failures(connection, "beta", now=now) == []
