import csv
import re
from datetime import UTC, datetime, timedelta

import pytest

from keygauge.protocol import Heartbeat, OpenStreams
from keygauge_keyservice.accounts import accounts, members, plans
from keygauge_keyservice.billing import billing
from keygauge_keyservice.keys import keys
from keygauge_keyservice.limits import replicas
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


def test_dry_run_quota_is_not_shown_as_rejecting(connection, signed_in, customer):
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


def test_account_without_keys_is_invited_to_create_one(connection, signed_in, customer):
    keys.delete(connection, customer.key.id, actor="test")
    assert "Create your first key" in signed_in.get("/").text


def test_account_without_requests_is_shown_how_to_make_one(signed_in, customer, record):
    sample = f"Bearer kg_live_{customer.key.id[:4]}…"
    assert sample in signed_in.get("/").text
    record(customer, {"time_us": int(datetime.now(UTC).timestamp() * 1_000_000)})
    assert sample not in signed_in.get("/").text


def test_suspended_account_sees_a_notice(connection, signed_in, customer):
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
def test_gauge_shows_used_and_remaining_amounts(fields, used, remaining, level):
    shown = overview.gauge(quota(**fields))
    assert (shown.used, shown.remaining, shown.level) == (used, remaining, level)
    assert 0 <= shown.percent <= 100


def test_overview_tables_are_available_as_csv_and_json(signed_in, customer, record):
    now_us = int(datetime.now(UTC).timestamp() * 1_000_000)
    record(customer, *[{"time_us": now_us - 1000, "status": 400, "input_tokens": 7, "output_tokens": 1}] * 25)
    exported = {kind: signed_in.get(f"/{kind}.json").json[kind] for kind in ("now", "quotas", "attention")}
    assert {(rate["unit"], rate["used"], rate["amount"]) for rate in exported["now"]} == {
        ("request", 25, 600),
        ("token", 200, None),
    }
    assert [(one["name"], one["amount"]) for one in exported["quotas"]] == [("monthly_requests", 20_000)]
    assert {one["dry_run"] for one in (*exported["now"], *exported["quotas"])} == {False}
    (alert,) = exported["attention"]
    assert (alert["kind"], alert["key_id"]) == ("client_errors", customer.key.id)
    for kind, rows in exported.items():
        written = list(csv.DictReader(signed_in.get(f"/{kind}.csv").text.splitlines()))
        assert [row.keys() for row in written] == [row.keys() for row in rows]
        assert f'href="/{kind}.csv"' in signed_in.get("/").text


def test_next_invoice_is_shown(connection, signed_in, customer):
    billing.set_plan_price(connection, "pro", 49 * 10**9, actor="test")
    connection.execute("DELETE FROM plan_price_before")  # as if the plan had always had this price
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


def test_smooth_rates_show_what_may_be_used_at_once(connection, customer, signed_in):
    even = plans.Limit(name="even", unit="request", amount=9_000, window_s=60, smooth=True)
    plans.replace_limits(connection, customer.account.plan_id, [even], actor="test")
    page = signed_in.get("/live").text
    assert re.findall(r'<th scope="row">(.*?)</th>.*?num">(.*?)</td><td class="num">(.*?)<', page)[:2] == [
        ("Requests at once, at 9,000 per minute", "0", "225"),
        ("Requests per minute", "0", "No limit"),
    ]


def test_plan_is_described_with_what_its_limits_count(connection, customer, operating, signed_in):
    limits = [
        plans.Limit(name="tried", unit="request", amount=9, window_s=60, dry_run=True),
        plans.Limit(name="one", unit="request", amount=8, window_s=60, model="gpt-4o"),
        plans.Limit(name="other", unit="request", amount=8, window_s=60, tool="search"),
    ]
    plans.replace_limits(connection, customer.account.plan_id, limits, actor="test")
    told = [
        "9 requests per minute (dry run)",
        "8 requests per minute, model gpt-4o only",
        "8 requests per minute, tool search only",
    ]
    assert "; ".join(told) in signed_in.get("/").text
    page = operating.get("/operator/plans").text
    assert [text in page for text in told] == [True] * 3


def test_rates_show_their_model_and_dry_run(connection, customer, signed_in):
    limit = plans.Limit(name="tried", unit="token", amount=9, window_s=60, model="gpt-4o", dry_run=True)
    plans.replace_limits(connection, customer.account.plan_id, [limit], actor="test")
    assert "Tokens per minute, model gpt-4o only (dry run)" in signed_in.get("/").text
    assert [one["dry_run"] for one in signed_in.get("/now.json").json["now"] if one["name"] == "tried"] == [True]


def test_open_streams_are_shown_if_there_are_any(connection, customer, signed_in):
    assert "Open streams" not in signed_in.get("/").text
    streams = [OpenStreams(customer.key.id, open=3, oldest_ms=125_000, messages=1_234)]
    seen = Heartbeat(replica="r", service="api", host="a", version="0", mode="enforce", cursor=1, streams=streams)
    replicas.see(connection, [seen])
    rows = signed_in.get("/live").text
    assert '<th scope="row">Open streams</th><td class="num">3</td>' in rows
    assert "Longest 125 seconds, 1,234 messages" in rows or "Longest 126 seconds" in rows
