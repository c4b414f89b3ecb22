"""The balance of a run: the totals of clients, ledger and metrics, and when they agree."""

from datetime import UTC, datetime, timedelta

import pytest

from keygauge.pricing.rates import Rates
from keygauge_demo import summary
from keygauge_demo.summary import Count, balance, read_metrics
from keygauge_demo.traffic_counts import TrafficCounts
from keygauge_keyservice.pricing import own_prices

EXPOSITION = """\
# HELP keygauge_requests_total Requests answered
# TYPE keygauge_requests_total counter
keygauge_requests_total{keygauge_key_id="a",http_response_status_code="200"} 5.0
keygauge_requests_total{keygauge_key_id="a",http_response_status_code="429"} 2.0
keygauge_requests_total{keygauge_key_id="b",http_response_status_code="200"} 1.0
keygauge_requests_total{keygauge_key_id="invalid",http_response_status_code="401"} 9.0
# HELP keygauge_tokens_total Tokens used
# TYPE keygauge_tokens_total counter
keygauge_tokens_total{keygauge_key_id="a",gen_ai_token_type="input"} 50.0
keygauge_tokens_total{keygauge_key_id="a",gen_ai_token_type="output"} 70.0
keygauge_tokens_total{keygauge_key_id="c",gen_ai_token_type="input"} 90.0
# HELP keygauge_cost_total Cost of the tokens used, in US dollars
# TYPE keygauge_cost_total counter
keygauge_cost_total{keygauge_key_id="a",gen_ai_request_model="m"} 0.3
keygauge_cost_total{keygauge_key_id="b",gen_ai_request_model="m"} 0.000000007
keygauge_cost_total{keygauge_key_id="c",gen_ai_request_model="m"} 5.0
"""


@pytest.fixture
def counts():
    counts = TrafficCounts(sent=4)
    counts.record(200, input_tokens=30, output_tokens=9)
    counts.record(200, input_tokens=20, output_tokens=9)
    counts.record(500)
    counts.record(429)
    return counts


def test_only_metrics_of_the_given_keys_are_counted():
    assert read_metrics(EXPOSITION, key_ids=["a", "b"]) == Count(8, 50, 300_000_007)


def test_equal_totals_have_no_discrepancies(counts):
    result = balance(counts, ledger=Count(4, 50), metric=Count(4, 50))
    it = result.summary
    assert (it.sent, it.answered, it.admitted, it.limited) == (4, 4, 3, 1)
    assert result.discrepancies == []


@pytest.mark.parametrize(
    ("ledger", "metric", "claim"),
    [
        (Count(3, 50), Count(4, 50), "ledger has each call"),
        (Count(5, 50), Count(4, 50), "ledger has each call"),
        (Count(4, 50), Count(5, 50), "metrics count"),
        (Count(4, 49), Count(4, 50), "ledger has the clients' tokens"),
        (Count(4, 50), Count(4, 51), "metrics have the clients' tokens"),
        (Count(4, 50, 7), Count(4, 50, 8), "metrics have the ledger's cost"),
    ],
)
def test_different_totals_are_reported(counts, ledger, metric, claim):
    [discrepancy] = balance(counts, ledger=ledger, metric=metric).discrepancies
    assert claim in discrepancy


def test_costs_are_not_compared_if_a_price_was_set_meanwhile(counts, connection):
    assert balance(counts, ledger=Count(4, 50, None), metric=Count(4, 50, 8)).discrepancies == []
    own_prices.set_price(connection, model="m", tiers=[Rates(-1, *[1] * 6)], valid_from=datetime.now(UTC), actor="test")
    since = datetime.now(UTC) - timedelta(hours=1)
    assert summary.count_ledger(connection, key_ids=["a"], since=since).cost_nanousd is None


def test_calls_without_an_answer_are_reported(counts):
    counts.sent += 1
    result = balance(counts, ledger=Count(4, 50), metric=Count(4, 50))
    assert result.discrepancies == ["every call was answered"]


def test_calls_answered_with_503_are_reported(counts):
    counts.sent += 1
    counts.record(503)
    result = balance(counts, ledger=Count(5, 50), metric=Count(5, 50))
    assert result.discrepancies == ["each call of a good key was admitted or limited"]


def test_calls_refused_because_a_visitor_disabled_the_key_are_no_discrepancy(counts):
    counts.sent += 1
    counts.record(401)
    assert balance(counts, ledger=Count(5, 50), metric=Count(5, 50)).discrepancies == []


def test_waiting_for_the_ledger_times_out(connection):
    since = datetime.now(UTC) - timedelta(hours=1)
    count = summary.await_ledger(connection, key_ids=["a"], since=since, requests=1, timeout_s=0)
    assert count == Count(0, 0)
