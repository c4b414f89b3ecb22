from datetime import timedelta

import pytest

from keygauge_keyservice.ledger import ingest
from keygauge_keyservice.pricing.public_prices import PublicPrices
from keygauge_keyservice.usage.failures import SPAN, Failures, find_failures

A_KIND = Failures(500, "ValueError", "192.0.2.1", "acme-live", 4)


@pytest.fixture
def fail(connection, metered, make_line, noon):
    """`fail(calls)` ingests failed calls, all at the same time."""
    spools = iter(f"a{number}" for number in range(9))

    def fail(calls, offset_s=-900, **fields):
        fields = {"status": 500, "error": "ValueError"} | fields
        lines = [make_line(offset_s, **fields)] * calls
        ingest.take_batch(connection, next(spools), 0, lines, PublicPrices(), now=noon + timedelta(seconds=1))

    return fail


def test_failures_of_one_kind_are_grouped_and_small_groups_left_out(connection, fail, noon):
    fail(4)
    fail(2, error="KeyError")
    fail(5, status=200, error=None)
    fail(3, outcome="part")
    assert find_failures(connection, "acme", now=noon) == [A_KIND]
    assert find_failures(connection, "beta", now=noon) == []


def test_the_most_frequent_come_first(connection, fail, noon):
    fail(4)
    fail(6, status=404, error=None)
    assert [(one.status, one.calls) for one in find_failures(connection, "acme", now=noon)] == [(404, 6), (500, 4)]


def test_failures_older_than_an_hour_are_left_out(connection, fail, noon):
    fail(4, -SPAN.total_seconds())
    assert find_failures(connection, "acme", now=noon) == [A_KIND]
    assert find_failures(connection, "acme", now=noon + timedelta(seconds=1)) == []
