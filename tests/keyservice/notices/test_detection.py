from datetime import UTC, datetime, timedelta

import pytest

from keygauge_keyservice.keys import keys
from keygauge_keyservice.keys.spikes import Spike
from keygauge_keyservice.notices.detection import of_key, of_quota, of_spike
from keygauge_keyservice.usage.quota import Quota

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("used", "reported", "silent"),
    [(49, [], []), (50, [50], []), (80, [80], [50]), (96, [95], [80, 50]), (100, [100], [95, 80, 50])],
)
def test_highest_threshold_is_reported_and_lower_ones_are_silent(used, reported, silent):
    quota = Quota("monthly", "request", "month", None, 100, used, 0, used, NOW, NOW)
    found = list(of_quota(quota, {}))
    assert [int(one.name.rpartition(":")[2]) for one in found if not one.is_silent] == reported
    assert [int(one.name.rpartition(":")[2]) for one in found if one.is_silent] == silent


def test_lifetime_quota_is_reported_without_a_reset():
    quota = Quota("trial", "request", "lifetime", None, 100, 80, 0, 80, NOW, None)
    first, *_ = of_quota(quota, {})
    assert (first.name, first.subject) == ("quota:trial::lifetime:80", "80% of the request quota “trial” used in total")
    assert first.text.endswith("The request quota does not reset.")


def test_dry_run_limit_is_not_reported():
    quota = Quota("monthly", "request", "month", None, 100, 100, 0, 100, NOW, NOW, dry_run=True)
    assert not list(of_quota(quota, {}))


def test_expiring_and_unused_keys_are_reported(connection, account, settings):
    given = {"peppers": settings.peppers, "account_id": account.id, "actor": "test"}
    key, _ = keys.create(connection, name="prod", expires_at=datetime.now(UTC) + timedelta(days=3), **given)
    assert [one.kind for one in of_key(key, now=datetime.now(UTC))] == ["expiring"]
    assert [one.kind for one in of_key(key, now=datetime.now(UTC) + timedelta(days=61))] == ["unused"]


def test_spike_is_one_notice_per_key_and_day():
    found = of_spike(Spike("k", "prod", 12_345, 99.6), now=NOW)
    assert (found.kind, found.name) == ("spike", "spike:k:2026-11-21")
    assert found.text.startswith("It had 12,345 requests in the last hour; its usual hour had 100.")
