import csv
from datetime import UTC, datetime, timedelta

import pytest

from keygauge.protocol import Heartbeat, OpenStreams
from keygauge_keyservice.accounts import accounts, members, plans
from keygauge_keyservice.billing import billing
from keygauge_keyservice.keys import keys
from keygauge_keyservice.limits import replicas
from keygauge_keyservice.portal import notices
from keygauge_keyservice.portal.pages import overview
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


def test_quota_is_shown_with_what_remains_and_when_it_resets(connection, signed_in, customer):
    limit = next(limit for limit in plans.require(connection, "pro").limits if limit.period)
    month = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    connection.execute(
        "INSERT INTO limit_state (id, account_id, head, cells, ends) VALUES (%s, %s, %s, '{8750}', %s)",
        (f"{limit.id}:{customer.account.id}", customer.account.id, int(month.timestamp()), [2**60]),
    )
    page = signed_in.get("/").text
    assert '<span class="number">8,750</span> / 20,000' in page
    assert "11,250 remaining" in page
    assert f"{(month + timedelta(days=31)).replace(day=1):%-d %b %Y}, 00:00 UTC" in page
    assert "600 requests per minute" in page
    assert "44 percent used" in page


def test_a_quota_that_is_tried_rejects_nothing(connection, signed_in, customer):
    for name, dry_run in (("tried", True), ("real", False)):
        limit = plans.Limit(name=name, unit="request", amount=3, period="lifetime", dry_run=dry_run)
        plans.replace_limits(connection, customer.account.plan_id, [limit], actor="test")
        (found,) = plans.require(connection, customer.account.plan_id).limits
        connection.execute(
            "INSERT INTO limit_state (id, account_id, cells, ends) VALUES (%s, %s, '{3}', %s) "
            "ON CONFLICT (id) DO UPDATE SET cells = EXCLUDED.cells",
            (f"{found.id}:{customer.account.id}", customer.account.id, [2**60]),
        )
        page = signed_in.get("/").text
        assert '<span class="number">3</span> / 3' in page
        assert ("rejected" in page) is not dry_run


def test_last_90_days_are_summed(signed_in, customer, record):
    now_us = int(datetime.now(UTC).timestamp() * 1_000_000)
    call = {"time_us": now_us, "duration_us": 250_000}
    record(customer, *[call] * 8, call | {"status": 500}, call | {"status": 429, "outcome": "limited"})
    page = signed_in.get("/").text
    assert "10 total" in page
    assert "250 ms" in page
    assert '<span class="number">10%</span><span class="note">1 error<' in page
    assert 'id="chart-requests-wide"' in page


def test_newcomer_is_shown_the_way(connection, signed_in, customer):
    keys.delete(connection, customer.key.id, actor="test")
    assert "Create your first key" in signed_in.get("/").text


def test_suspended_account_is_told_so(connection, signed_in, customer):
    accounts.set_status(connection, customer.account.id, "suspended", actor="test")
    for page in ("/", "/keys"):
        assert "This account is suspended" in signed_in.get(page).text


@pytest.mark.parametrize(
    ("fields", "used", "remaining", "level"),
    [
        ({}, "8,750", "11,250", "fine"),
        ({"used": 16_000}, "16,000", "4,000", "near"),
        ({"used": 20_000}, "20,000", "0", "over"),
        ({"used": 25_000}, "25,000", "0", "over"),
        ({"amount": 0, "used": 0}, "0", "0", "over"),
        ({"unit": "nanousd", "amount": 10**10, "used": 25 * 10**8}, "$2.50", "$7.50", "fine"),
        (
            {"unit": "nanousd", "amount": 5 * 10**9, "used": 12345 * 10**5, "credit_nanousd": 10**6},
            "1,234.5",
            "3,765.5",
            "fine",
        ),
    ],
)
def test_gauge_tells_how_full_it_is(fields, used, remaining, level):
    shown = overview.gauge(quota(**fields))
    assert (shown.used, shown.remaining, shown.level) == (used, remaining, level)
    assert 0 <= shown.percent <= 100


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
    ("listed", "remark"),
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
def test_key_that_needs_attention_is_named(app, listed, remark):
    with app.test_request_context():
        found = list(notices.of_keys([listed], now=NOW))
    assert [one.text for one in found] == ([remark] if remark else [])


@pytest.mark.parametrize(
    ("fields", "remark"),
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
def test_quota_that_runs_out_is_named(app, fields, remark):
    with app.test_request_context():
        found = list(notices.of_quotas([quota(**fields)], {"k": "prod"}))
    assert [one.text for one in found] == ([remark] if remark else [])


def test_repeated_mistakes_and_new_addresses_are_named(signed_in, customer, record):
    now_us = int(datetime.now(UTC).timestamp() * 1_000_000)
    record(customer, {"time_us": now_us - 5 * 86_400_000_000, "ip": "192.0.2.1"})
    assert "(4xx)" not in signed_in.get("/").text
    record(customer, *[{"time_us": now_us, "status": 400, "ip": "198.51.100.66"}] * 25)
    page = signed_in.get("/").text
    assert "“Acme key” had 25 client errors (4xx) in the last 24 hours (100% of its requests)." in page
    assert "“Acme key” was used from a new IP address: 198.51.100.66." in page
    assert f"/calls?key={customer.key.id}&amp;ip=198.51.100.66&amp;exact=1&amp;range=24h" in page


def test_what_the_overview_tells_comes_as_csv_and_json(signed_in, customer, record, client, operator):
    now_us = int(datetime.now(UTC).timestamp() * 1_000_000)
    record(customer, *[{"time_us": now_us - 1000, "status": 400, "input_tokens": 7, "output_tokens": 1}] * 25)
    told = {kind: signed_in.get(f"/{kind}.json").json[kind] for kind in ("now", "quotas", "attention")}
    assert {(rate["unit"], rate["used"], rate["amount"]) for rate in told["now"]} == {
        ("request", 25, 600),
        ("token", 200, None),
    }
    assert [(one["name"], one["amount"]) for one in told["quotas"]] == [("monthly_requests", 20_000)]
    assert {one["dry_run"] for one in (*told["now"], *told["quotas"])} == {False}
    (remark,) = told["attention"]
    assert (remark["kind"], remark["key_id"]) == ("client_errors", customer.key.id)
    for kind, rows in told.items():
        written = list(csv.DictReader(signed_in.get(f"/{kind}.csv").text.splitlines()))
        assert [row.keys() for row in written] == [row.keys() for row in rows]
        assert f'href="/{kind}.csv"' in signed_in.get("/").text
    (by_api,) = client.get(f"/v1/accounts/{customer.account.id}/attention", headers=operator).json["remarks"]
    assert by_api == {name: remark[{"key": "key_id", "portal_path": "address"}.get(name, name)] for name in by_api}
    assert client.get("/v1/accounts/none/attention", headers=operator).status_code == 404


def test_next_bill_is_told(connection, signed_in, customer):
    billing.set_plan_price(connection, "pro", 49 * 10**9, actor="test")
    connection.execute("DELETE FROM plan_price_before")  # as if it had always had this price
    page = signed_in.get("/").text
    assert "$49.00" in page
    assert f"{billing.find_statement(connection, customer.account.id).next_invoice_at:%-d %b %Y}" in page


def test_alert_is_dismissed_by_one_member_until_it_changes(app, connection, signed_in, customer, visitor):
    keys.change(connection, customer.key.id, actor="test", expires_at=datetime.now(UTC) + timedelta(days=3))
    name = f"expires:{customer.key.id}:"
    assert f'value="{name}"' in signed_in.get("/").text
    assert signed_in.post("/alerts/dismiss", {"name": name}).status_code == 303
    assert "No alerts." in signed_in.get("/").text
    assert signed_in.get("/attention.json").json["attention"]
    other = {"email": "grace@acme.example", "password": "a long password", "role": "viewer"}
    members.create(connection, account_id=customer.account.id, **other, actor="test")
    visitor.client.post("/sign-in", data=other)
    assert "expires on" in visitor.get("/").text
    connection.execute("UPDATE dismissed_alert SET at = now() - interval '8 days'")
    assert "expires on" in signed_in.get("/").text
    for wrong in ("stolen", "expires:" + "x" * 300):
        assert signed_in.post("/alerts/dismiss", {"name": wrong}).status_code == 422


def test_rates_that_are_tried_or_count_some_calls_are_told_as_such(connection, customer, signed_in):
    limit = plans.Limit(name="tried", unit="token", amount=9, window_s=60, model="gpt-4o", dry_run=True)
    plans.replace_limits(connection, customer.account.plan_id, [limit], actor="test")
    assert "Tokens per minute, model gpt-4o only (dry run)" in signed_in.get("/").text
    assert [one["dry_run"] for one in signed_in.get("/now.json").json["now"] if one["name"] == "tried"] == [True]


def test_open_streams_are_shown_while_there_are_any(connection, customer, signed_in):
    assert "Open streams" not in signed_in.get("/").text
    streams = [OpenStreams(customer.key.id, open=3, oldest_ms=125_000, messages=1_234)]
    seen = Heartbeat(replica="r", service="api", host="a", version="0", mode="enforce", cursor=1, streams=streams)
    replicas.see(connection, [seen])
    rows = signed_in.get("/live").text
    assert '<th scope="row">Open streams</th><td class="num">3</td>' in rows
    assert "Longest 125 seconds, 1,234 messages" in rows or "Longest 126 seconds" in rows
