"""Usage kinds other than plain tokens, as customers and operators see them."""

import csv
import io
import json
import re
from datetime import UTC, datetime

import pytest

from keygauge.pricing.rates import Rates
from keygauge_keyservice.billing import billing
from keygauge_keyservice.pricing import own_prices

RANGE = "from=2026-05-19&to=2026-05-21"
DETAILS = {"input_audio": 1_234, "web_searches": 2}


@pytest.fixture
def spoken(customer, record):
    record(customer, {"model": "gpt-4o-audio-preview", "input_tokens": 2_000, "details": DETAILS}, {})


def rows(answer):
    return list(csv.DictReader(io.StringIO(answer.text)))


@pytest.mark.usefixtures("spoken")
def test_call_page_shows_kinds(signed_in):
    page = signed_in.get(f"/calls?{RANGE}&model=audio").text
    place = page.split('href="/calls/')[1].split('"')[0]
    shown = signed_in.get(f"/calls/{place}").text
    assert "<dt>Audio input tokens</dt><dd>1,234</dd>" in shown
    assert "<dt>Web searches</dt><dd>2</dd>" in shown


@pytest.mark.usefixtures("spoken")
def test_call_files_contain_kinds(signed_in):
    assert {json.dumps(DETAILS), ""} == {row["details"] for row in rows(signed_in.get(f"/calls.csv?{RANGE}"))}
    assert DETAILS in [call["details"] for call in signed_in.get(f"/calls.json?{RANGE}").json["calls"]]


@pytest.mark.usefixtures("spoken")
def test_usage_shows_kinds(signed_in):
    page = signed_in.get(f"/usage?{RANGE}").text
    assert '<th scope="row">Audio input tokens</th><td class="num" data-name="Count">1,234</td>' in page
    by_model = rows(signed_in.get(f"/usage.csv?{RANGE}&table=model"))
    assert {row["model"]: row["input_audio"] for row in by_model} == {
        "gpt-4o-audio-preview": "1234",
        "gpt-4o-mini": "0",
    }
    over_time = signed_in.get(f"/usage.json?{RANGE}&table=time").json["rows"]
    assert sum(row["web_searches"] for row in over_time) == 2


def test_usage_shows_no_unused_kinds(signed_in, customer, record):
    record(customer, {})
    assert "Audio input tokens" not in signed_in.get(f"/usage?{RANGE}").text


@pytest.mark.usefixtures("spoken")
def test_api_returns_kinds(client, operator, customer):
    given = {"account": customer.account.id, "from": "2026-05-19T00:00:00Z", "to": "2026-05-21T00:00:00Z"}
    answer = client.get("/v1/usage", query_string={**given, "group_by": "model"}, headers=operator).json
    assert answer["totals"]["details"] == DETAILS
    assert [group["details"] for group in answer["groups"]] == [DETAILS, {}]
    assert sum(point["details"].get("web_searches", 0) for point in answer["points"]) == 2
    table = rows(client.get("/v1/usage", query_string={**given, "format": "csv"}, headers=operator))
    assert sum(int(row["input_audio"]) for row in table) == 1_234
    calls = client.get("/v1/calls", query_string=given, headers=operator).json["calls"]
    assert DETAILS in [call["details"] for call in calls]


@pytest.mark.usefixtures("spoken")
def test_invoice_shows_kinds_next_to_their_model(connection, signed_in, customer):
    connection.execute("UPDATE account SET created_at = '2026-05-01'")
    billing.close_periods(connection, now=datetime(2026, 6, 3, tzinfo=UTC))
    page = signed_in.get("/billing/invoices/2026-05").text
    assert re.search(
        r'>gpt-4o-audio-preview</th>\s*<td data-name="Kind">Audio input tokens</td>\s*'
        r'<td class="num" data-name="Quantity">1,234</td>',
        page,
    )


def test_prices_show_rates_of_kinds(connection, signed_in, customer, record):
    now = datetime.now(UTC)
    rates = Rates(-1, 10**9, 2 * 10**9, 10**9, 10**9, 2 * 10**9, 0, {"input_audio": 40 * 10**9, "images": 3 * 10**13})
    own_prices.set_price(
        connection, model="own", tiers=[rates], valid_from=now, provider=None, account_id=None, actor="x"
    )
    record(customer, {"model": "own", "time_us": int(now.timestamp() * 1e6)})
    assert "Audio input tokens: $40.00 per million; Images: $0.03 each" in signed_in.get("/billing").text
