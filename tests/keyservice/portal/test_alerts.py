from datetime import UTC, datetime, timedelta

import pytest

from keygauge_keyservice.keys import keys
from keygauge_keyservice.portal import alerts
from keygauge_keyservice.usage.quota import Quota

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def quota(**fields):
    return Quota(
        **{"name": "monthly", "unit": "request", "period": "month", "key_id": None, "amount": 20_000, "used": 8_750}
        | {
            "reserved": 0,
            "counted": 8_750,
            "starts_at": datetime(2026, 11, 1, tzinfo=UTC),
            "resets_at": datetime(2026, 12, 1, tzinfo=UTC),
        }
        | fields
    )


def key(**fields):
    return keys.Key(
        **{"id": "k", "account_id": "a", "name": "prod", "environment": "live", "status": "active"}
        | {
            "created_at": NOW - timedelta(days=90),
            "created_by": None,
            "rotated_at": NOW,
            "expires_at": None,
            "deleted_at": None,
        }
        | {"last_used_at": NOW, "last_used_ip": None, "last_used_route": None}
        | fields
    )


@pytest.mark.parametrize(
    ("listed", "alert"),
    [
        (key(), None),
        (key(expires_at=NOW + timedelta(days=3)), "“prod” expires on 24 Nov 2026."),
        (key(expires_at=NOW - timedelta(days=3)), "“prod” expired on 18 Nov 2026."),
        (key(expires_at=NOW + timedelta(days=30)), None),
        (
            key(rotate_every_days=1, rotated_at=NOW - timedelta(days=2)),
            "“prod” is due for rotation. It was last rotated on 19 Nov 2026.",
        ),
        (key(last_used_at=NOW - timedelta(days=61)), "“prod” has not been used for 60 days."),
        (key(last_used_at=None), "“prod” has not been used for 60 days."),
        (key(last_used_at=None, status="disabled"), None),
        (key(last_used_at=None, created_at=NOW), None),
    ],
)
def test_alert_names_a_key_that_needs_attention(app, listed, alert):
    with app.test_request_context():
        found = list(alerts.of_keys([listed], now=NOW))
    assert [one.text for one in found] == ([alert] if alert else [])


@pytest.mark.parametrize(
    ("fields", "alert"),
    [
        ({}, None),
        ({"used": 16_000}, "80% of the request quota “monthly” used this month."),
        ({"used": 16_000, "key_id": "k"}, "80% of the request quota “monthly” of “prod” used this month."),
        ({"unit": "nanousd", "used": 20_000, "period": "day"}, "100% of the budget “monthly” used today."),
        (
            {"unit": "nanousd", "used": 18_000, "credit_nanousd": 5},
            "90% of the credit budget “monthly” used this month.",
        ),
        ({"amount": 0, "used": 0}, None),
    ],
)
def test_alert_names_a_quota_that_runs_out(app, fields, alert):
    with app.test_request_context():
        found = list(alerts.of_quotas([quota(**fields)], {"k": "prod"}))
    assert [one.text for one in found] == ([alert] if alert else [])


def test_repeated_client_errors_and_new_addresses_are_shown(signed_in, customer, record):
    now_us = int(datetime.now(UTC).timestamp() * 1_000_000)
    record(customer, {"time_us": now_us - 5 * 86_400_000_000, "ip": "192.0.2.1"})
    assert "(4xx)" not in signed_in.get("/").text
    record(customer, *[{"time_us": now_us, "status": 400, "ip": "198.51.100.66"}] * 25)
    page = signed_in.get("/").text
    assert "“Acme key” had 25 client errors (4xx) in the last 24 hours (100% of its requests)." in page
    assert "“Acme key” was used from a new IP address: 198.51.100.66." in page
    assert f"/calls?key={customer.key.id}&amp;ip=198.51.100.66&amp;exact=1&amp;range=24h" in page


def test_alert_names_a_key_used_far_more_than_usual(signed_in, customer, record, connection):
    record(customer, *[{"time_us": int(datetime.now(UTC).timestamp() * 1_000_000)}] * 1_000)
    assert "usually" not in signed_in.get("/").text  # a key created today has no usual usage yet
    connection.execute("UPDATE key SET created_at = created_at - interval '8 days'")
    page = signed_in.get("/").text
    assert "“Acme key” had 1,000 requests in the last hour, usually 0 per hour." in page
    assert f"/usage?key={customer.key.id}&amp;range=24h" in page
