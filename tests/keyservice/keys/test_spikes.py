"""Detection of spikes in the real ledger."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest

from keygauge_keyservice.accounts import accounts, plans
from keygauge_keyservice.keys import keys, spikes
from keygauge_keyservice.ledger import ingest
from keygauge_keyservice.pricing.public_prices import PublicPrices

NOW = datetime(2026, 11, 21, 12, 20, tzinfo=UTC)


@pytest.fixture
def account(connection):
    plans.create(connection, plan_id="pro", name="Pro", limits=[], actor="test")
    return accounts.create(connection, name="Acme", plan_id="pro", actor="test")


@pytest.fixture
def use(connection, account, settings, make_event):
    """`use({hours ago: requests}, days=…)` creates a key of that age and records its requests."""
    spools = (f"{number:032x}" for number in itertools.count())

    def use(requests, *, days=30):
        key, _ = keys.create(
            connection, peppers=settings.peppers, account_id=account.id, name="production", actor="test"
        )
        connection.execute("UPDATE key SET created_at = %s WHERE id = %s", (NOW - timedelta(days=days), key.id))
        for hours, count in requests.items():
            time_us = round((NOW - timedelta(hours=hours)).timestamp() * 1_000_000)
            event = make_event()._replace(account=account.id, key=key.id, time_us=time_us)
            assert ingest.take_events(connection, next(spools), 0, [event] * count, PublicPrices()).accepted == count
        return key

    return use


@pytest.fixture
def find(connection, account):
    return lambda: [(one.key_id, one.requests, one.usual) for one in spikes.find(connection, account.id, now=NOW)]


def test_a_key_with_more_than_five_times_its_usual_requests_has_a_spike(use, find):
    key = use({0: 1_001, 24: 16_800, 200: 9_000})  # 100 per hour in the past week; older requests do not count
    use({0: 1_001, 24: 33_634})  # 200.2 per hour, of which 1,001 is exactly five times
    assert find() == [(key.id, 1_001, 100.0)]


def test_few_requests_are_no_spike(use, find):
    use({0: 999})
    assert find() == []


def test_a_key_unused_for_a_week_has_a_spike_at_once(use, find):
    key = use({0: 1_000})
    assert find() == [(key.id, 1_000, 0.0)]


def test_a_key_younger_than_a_day_has_no_spike(use, find):
    use({0: 2_000}, days=0.9)
    assert find() == []


def test_the_average_of_a_young_key_begins_with_its_creation(use, find):
    use({0: 1_200, 24: 12_000}, days=2)  # about 260 per hour
    assert find() == []
    key = use({0: 1_200, 24: 12_000}, days=3)  # about 170
    assert [key_id for key_id, *_ in find()] == [key.id]


def test_a_deleted_key_has_no_spike(use, find, connection):
    key = use({0: 1_000})
    keys.delete(connection, key.id, actor="test")
    assert find() == []
