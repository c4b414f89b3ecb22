from datetime import UTC, datetime

import pytest
from prometheus_client import CollectorRegistry

from keygauge_keyservice.ledger.event import Refusal
from keygauge_keyservice.ledger.metrics import LedgerMetrics
from keygauge_keyservice.ledger.receipt import Receipt

NOON = datetime(2026, 5, 20, 12, tzinfo=UTC)
NOON_US = round(NOON.timestamp()) * 1_000_000
REFUSED = ((7, Refusal.BAD_JSON), (8, Refusal.BAD_JSON), (9, Refusal.WRONG_TYPE))


@pytest.fixture
def registry():
    return CollectorRegistry()


def test_batches_are_counted(registry):
    metrics = LedgerMetrics(registry)
    for _ in range(2):
        metrics.record(Receipt(10, 5, REFUSED, 2, 1, NOON_US - 3_000_000), duration_s=0.5, now=NOON)
    read = registry.get_sample_value
    assert read("keygauge_ledger_events_total") == 10
    assert read("keygauge_ledger_duplicates_total") == 4
    assert read("keygauge_ledger_missing_total") == 2
    assert read("keygauge_ledger_refused_total", {"reason": "bad_json"}) == 4
    assert read("keygauge_ledger_refused_total", {"reason": "wrong_type"}) == 2
    assert read("keygauge_ledger_lag_seconds") == 3
    assert read("keygauge_ledger_batch_duration_seconds_sum") == 1


def test_a_batch_without_events_does_not_change_the_lag(registry):
    metrics = LedgerMetrics(registry)
    metrics.record(Receipt(1, 1, (), 0, 0, NOON_US - 3_000_000), duration_s=0.5, now=NOON)
    metrics.record(Receipt(1, 0, (), 1, 0, None), duration_s=0.5, now=NOON)
    assert registry.get_sample_value("keygauge_ledger_lag_seconds") == 3
