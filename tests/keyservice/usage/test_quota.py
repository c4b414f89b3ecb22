from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest

from keygauge_keyservice.ledger import backfill
from keygauge_keyservice.limits.periods import Period, Periods
from keygauge_keyservice.pricing.public_prices import PublicPrices
from keygauge_keyservice.usage import quota

pytestmark = pytest.mark.usefixtures("metered")


@pytest.fixture
def limit(connection):
    def limit(name, unit, amount, period, subject="account", used=None, subject_id="acme", at=None):
        row = connection.execute(
            "INSERT INTO plan_limit (plan_id, name, subject, unit, amount, period) "
            "VALUES ('ledger', %s, %s, %s, %s, %s) RETURNING id::text",
            (name, subject, unit, amount, period),
        ).fetchone()
        state_id = f"{row['id']}:{subject_id}"
        if used is not None:
            head, end = Periods(period).around(int(at.timestamp()))
            connection.execute(
                "INSERT INTO limit_state (id, account_id, head, cells, ends) VALUES (%s, 'acme', %s, %s, %s)",
                (state_id, head, [used], [end * 1_000_000]),
            )
        return state_id

    return limit


def test_a_quota_has_used_and_reserved_units_and_a_reset_time(connection, limit, make_event, noon):
    month_s = int(datetime(2026, 5, 1, tzinfo=UTC).timestamp())
    state_id = limit("monthly_requests", "request", 1000, "month", used=120, at=noon)
    for units, ends_in in ((15, 10), (5, -1), (500, -5)):  # the rest of one that just ended returns soon
        connection.execute(
            "INSERT INTO lease (state_id, replica, heartbeat, bucket, units, ends_at) VALUES (%s, 'r', 1, %s, %s, %s)",
            (state_id, month_s, units, noon + timedelta(seconds=ends_in)),
        )
    events = [make_event(number) for number in range(7)]
    events.append(make_event(9, outcome="quota", status=429))
    events.append(make_event(-40 * 86_400))  # last month
    backfill.write_history(connection, events, PublicPrices(), spool="test")
    [found] = quota.find_quotas(connection, "acme", now=noon)
    assert (found.amount, found.used, found.reserved, found.remaining) == (1000, 100, 20, 900)
    assert found.counted == 7
    assert found.resets_at == datetime(2026, 6, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("outcome", "is_counted"),
    [("admitted", True), ("would_limit", True), ("degraded", True)]
    + [(one, False) for one in ("limited", "quota", "revoked", "expired", "unknown", "forbidden", "unavailable")],
)
@pytest.mark.parametrize("model", [None, "gpt-4o-mini", "gpt-4*"])
@pytest.mark.parametrize("subject", ["account", "key"])
def test_only_admitted_calls_are_counted(connection, limit, make_event, noon, outcome, is_counted, model, subject):
    limit("monthly", "request", 1000, "month", subject=subject)
    connection.execute("UPDATE plan_limit SET model = %s", (model,))
    events = [make_event(offset_s, outcome=outcome, status=403) for offset_s in (0, -86_400, -86_400)]
    backfill.write_history(connection, [make_event(), *events], PublicPrices(), spool="test")
    found = quota.find_quotas(connection, "acme", now=noon + timedelta(minutes=1))
    assert found[0].counted == (4 if is_counted else 1)


def test_a_quota_of_a_past_period_is_unused(connection, limit, noon):
    limit("daily", "token", 50, "day", used=40, at=noon - timedelta(days=1))
    [found] = quota.find_quotas(connection, "acme", now=noon)
    assert (found.used, found.reserved, found.remaining) == (0, 0, 50)
    assert found.resets_at == datetime(2026, 5, 21, tzinfo=UTC)


def test_a_quota_has_its_filters_and_dry_run(connection, limit, noon):
    limit("daily", "token", 50, "day")
    connection.execute("UPDATE plan_limit SET model = 'gpt-4o', dry_run = true")
    [found] = quota.find_quotas(connection, "acme", now=noon)
    assert (found.route, found.model, found.dry_run) == (None, "gpt-4o", True)


def test_a_quota_per_key_is_listed_for_each_key(connection, limit, noon):
    limit("per_key", "nanousd", 10**9, "month", subject="key")
    found = quota.find_quotas(connection, "acme", now=noon)
    assert [(item.key_id, item.used) for item in found] == [("acme-live", 0), ("acme-test", 0)]


def test_with_very_many_keys_only_the_fullest_or_the_requested_quotas_are_listed(connection, limit, noon, monkeypatch):
    monkeypatch.setattr(quota, "KEYS_MAX", 1)
    limit("all", "request", 100, "month")
    limit("each", "request", 100, "month", subject="key", used=5, subject_id="acme-test", at=noon)
    found = quota.find_quotas(connection, "acme", now=noon)
    assert [(one.name, one.key_id, one.used) for one in found] == [("all", None, 0), ("each", "acme-test", 5)]
    of_key = quota.find_quotas(connection, "acme", key_id="acme-live", now=noon)
    assert [(one.name, one.key_id, one.used) for one in of_key] == [("all", None, 0), ("each", "acme-live", 0)]


def test_a_budget_in_credits_has_the_value_of_a_credit(connection, limit, noon):
    limit("credits", "nanousd", 5 * 10**9, "month")
    connection.execute("UPDATE plan_limit SET credit_nanousd = 10000000")
    [found] = quota.find_quotas(connection, "acme", now=noon)
    assert (found.unit, found.amount, found.credit_nanousd) == ("nanousd", 5 * 10**9, 10**7)


@pytest.mark.parametrize("period", get_args(Period))
def test_a_keys_nearly_used_quota_is_found_in_every_period(connection, limit, noon, period):
    start_s, end_s = Periods(period).around(int(noon.timestamp()))
    limit("near", "request", 100, period, subject="key", used=95, subject_id="acme-live", at=noon)
    if period != "lifetime":
        before = datetime.fromtimestamp(start_s - 1, UTC)
        limit("over", "request", 100, period, subject="key", used=95, subject_id="acme-live", at=before)
    (found,) = quota.find_near(connection, "acme", share=0.8, most=5, now=noon)
    assert (found.name, found.used, found.starts_at.timestamp()) == ("near", 95, start_s)
    assert (found.resets_at is None) if period == "lifetime" else (found.resets_at.timestamp() == end_s)


@pytest.mark.parametrize(
    ("period", "anchor", "zone", "when", "counted"),
    [
        ("month", "2026-01-18", None, "since 18 May", 2),
        ("month", "2026-01-31", None, "since 30 Apr", 3),
        ("day", None, "Pacific/Kiritimati", "today", 1),  # there it has been the 21st since 10:00 UTC
        ("lifetime", None, None, "in total", 4),
    ],
)
def test_a_quota_counts_its_current_period(connection, make_event, noon, period, anchor, zone, when, counted):
    connection.execute(
        "INSERT INTO plan_limit (plan_id, name, unit, amount, period, anchor, zone) "
        "VALUES ('ledger', 'q', 'request', 100, %s, %s, %s)",
        (period, anchor, zone),
    )
    events = [make_event(-3600 * hours) for hours in (1, 3, 24 * 12, 24 * 400)]
    backfill.write_history(connection, events, PublicPrices(), spool="test")
    (found,) = quota.find_quotas(connection, "acme", now=noon)
    assert (found.when, found.counted) == (when, counted)


def test_rates_are_not_quotas(connection, noon):
    connection.execute(
        "INSERT INTO plan_limit (plan_id, name, unit, amount, window_s) VALUES ('ledger', 'rpm', 'request', 60, 60)"
    )
    assert quota.find_quotas(connection, "acme", now=noon) == []


def test_a_quota_counts_the_calls_that_it_limits(connection, make_event, noon):
    connection.execute(
        "INSERT INTO plan_limit (plan_id, key_id, name, subject, unit, amount, period, route, model) VALUES "
        "('ledger', NULL, 'a', 'key', 'request', 100, 'month', NULL, NULL), "
        "('ledger', NULL, 'b', 'account', 'token', 100, 'day', '/v1/other', NULL), "
        "(NULL, 'acme-test', 'c', 'key', 'request', 100, 'month', NULL, 'mini'), "
        "('ledger', NULL, 'd', 'account', 'input_token', 100, 'day', '/v1/other', NULL), "
        "('ledger', NULL, 'e', 'account', 'output_token', 100, 'day', '/v1/other', NULL)"
    )
    events = [make_event(1), make_event(2, key="acme-test", model="mini"), make_event(3, key="acme-test")]
    events.append(make_event(4, route="/v1/other", input_tokens=7, output_tokens=1))
    backfill.write_history(connection, events, PublicPrices(), spool="test")
    found = quota.find_quotas(connection, "acme", now=noon)
    assert [(one.name, one.key_id, one.counted) for one in found] == [
        ("a", "acme-live", 2),
        ("a", "acme-test", 2),
        ("b", None, 8),
        ("c", "acme-test", 1),
        ("d", None, 7),
        ("e", None, 1),
    ]


def test_a_quota_with_a_prefix_pattern_counts_matching_calls(connection, make_event, noon):
    connection.execute(
        "INSERT INTO plan_limit (plan_id, name, subject, unit, amount, period, route, model) VALUES "
        "('ledger', 'a', 'account', 'request', 100, 'day', NULL, 'gpt-4o*'), "
        "('ledger', 'b', 'key', 'token', 100, 'day', '/v1/other*', NULL), "
        "('ledger', 'c', 'account', 'request', 100, 'day', '/v1/*', 'o3'), "
        "('ledger', 'd', 'key', 'request', 100, 'day', '*', 'gpt-4o*')"
    )
    events = [make_event(1, model="gpt-4o"), make_event(2, model="gpt-4o-mini"), make_event(3, model="o3")]
    events.append(make_event(4, key="acme-test", model="o3", route="/v1/other/files", input_tokens=7, output_tokens=1))
    backfill.write_history(connection, events, PublicPrices(), spool="test")
    found = quota.find_quotas(connection, "acme", now=noon)
    assert [(one.name, one.key_id, one.counted) for one in found] == [
        ("a", None, 2),
        ("b", "acme-live", 0),
        ("b", "acme-test", 8),
        ("c", None, 2),
        ("d", "acme-live", 2),
        ("d", "acme-test", 0),
    ]
