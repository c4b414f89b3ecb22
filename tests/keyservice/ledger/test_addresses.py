from datetime import timedelta

import pytest

from keygauge_keyservice.ledger import addresses, ingest
from keygauge_keyservice.pricing.public_prices import PublicPrices

DAY_S = 86_400


@pytest.fixture
def used(connection, metered, make_event):
    """`used(*calls)` ingests calls, given as (key, address, seconds from noon)."""
    spools = iter(f"{number:032x}" for number in range(100))

    def used(*calls):
        events = [make_event(at, key=key, ip=ip, account=metered_by(key)) for key, ip, at in calls]
        ingest.take_events(connection, next(spools), 0, events, PublicPrices())

    def metered_by(key):
        return next(account for account, keys in metered.items() if key in keys)

    return used


def test_an_address_is_new_for_a_day_if_the_key_had_earlier_ones(connection, used, noon):
    used(("acme-live", "192.0.2.1", -3 * DAY_S), ("acme-test", "192.0.2.1", -60), ("beta-live", "192.0.2.1", -60))
    assert addresses.find_new(connection, "acme", now=noon) == []  # the test key's first address is not new
    used(("acme-live", "198.51.100.9", -60), ("acme-live", "203.0.113.5", -50), ("acme-live", "192.0.2.1", -40))
    (found,) = addresses.find_new(connection, "acme", now=noon)
    assert (found.key_id, found.ips, found.ip) == ("acme-live", 2, "198.51.100.9")
    assert addresses.find_new(connection, "beta", now=noon) == []
    assert addresses.find_new(connection, "acme", now=noon + timedelta(days=1)) == []


def test_unused_addresses_are_pruned(connection, used, noon):
    used(("acme-live", "192.0.2.1", -100 * DAY_S), ("acme-live", "192.0.2.2", -100 * DAY_S))
    used(("acme-live", "192.0.2.1", -DAY_S))
    addresses.prune(connection, now=noon)
    assert [row["ip"] for row in connection.execute("SELECT ip FROM key_address")] == ["192.0.2.1"]
    assert addresses.find_new(connection, "acme", now=noon) == []


def test_addresses_recorded_per_batch_are_bounded(connection, used):
    used(*(("acme-live", f"2001:db8::{number:x}", -number) for number in range(addresses.NOTED_MAX + 50)))
    row = connection.execute("SELECT count(*) AS noted FROM key_address").fetchone()
    assert row["noted"] == addresses.NOTED_MAX


def test_a_call_without_an_address_is_ignored(connection, used, noon):
    used(("acme-live", "192.0.2.1", -3 * DAY_S), ("acme-live", None, -60))
    assert addresses.find_new(connection, "acme", now=noon) == []
