import csv
from datetime import UTC, datetime

import pytest

from keygauge_keyservice.usage import usage

RANGE = "from=2026-05-19&to=2026-05-21"
LIMITED = {"status": 429, "outcome": "limited", "limit": "rpm", "model": None, "input_tokens": None} | {
    "output_tokens": None,
    "cache_read_tokens": None,
}


def rows(answer):
    return list(csv.DictReader(answer.text.splitlines()))


@pytest.mark.parametrize("table", ["time", "model", "endpoint", "key"])
def test_every_csv_adds_up_to_the_totals(connection, signed_in, customer, record, table):
    record(customer, {}, {"model": "claude-sonnet-4-6", "route": "/v1/messages"}, {"status": 503}, LIMITED)
    answer = signed_in.get(f"/usage.csv?{RANGE}&table={table}")
    assert answer.content_type == "text/csv; charset=utf-8"
    assert "attachment" in answer.headers["Content-Disposition"]
    totals = usage.totals(
        connection,
        account_id=customer.account.id,
        start=datetime(2026, 5, 19, tzinfo=UTC),
        end=datetime(2026, 5, 22, tzinfo=UTC),
    )
    for name in ("requests", "limited", "server_errors", "input_tokens", "output_tokens", "cache_read_tokens"):
        assert sum(int(row[name]) for row in rows(answer)) == getattr(totals, name)
    cost_nanousd = sum(round(float(row["cost_usd"]) * 1e9) for row in rows(answer))
    assert cost_nanousd == totals.cost_nanousd


def test_files_have_the_same_average_latency_as_the_page(signed_in, customer, record):
    record(customer, {"duration_us": 250_000}, {"duration_us": 750_000})
    assert 'data-name="Average latency">500 ms</td>' in signed_in.get(f"/usage?{RANGE}").text
    assert rows(signed_in.get(f"/usage.csv?{RANGE}&table=model"))[0]["average_duration_s"] == "0.5"
    (told,) = signed_in.get(f"/usage.json?{RANGE}&table=endpoint").json["rows"]
    assert told["average_duration_s"] == 0.5


def test_csv_has_a_row_per_bucket(signed_in, customer, record):
    record(customer, {})
    answer = signed_in.get(f"/usage.csv?{RANGE}")
    assert [row["hour"] for row in rows(answer)][:2] == ["2026-05-19T00:00:00+00:00", "2026-05-19T01:00:00+00:00"]
    assert len(rows(answer)) == 72


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)"])
def test_csv_has_no_formulas(signed_in, customer, record, name):
    record(customer, {"model": name})
    assert rows(signed_in.get(f"/usage.csv?{RANGE}&table=model"))[0]["model"] == f"'{name}"


@pytest.mark.parametrize("query", ["table=nothing", "table=", "table=%3Cscript%3E"])
def test_unknown_csv_is_not_found(signed_in, query):
    assert signed_in.get(f"/usage.csv?{query}").status_code == 404


def test_buckets_and_groups_over_time_are_available_as_csv_and_json(signed_in, customer, record):
    record(customer, {}, {"model": "claude-sonnet-4-6"})
    week = "from=2026-05-15&to=2026-05-21"
    hours = rows(signed_in.get(f"/usage.csv?{week}&bucket=hour"))
    assert (len(hours), sum(int(row["requests"]) for row in hours)) == (7 * 24, 2)
    trends = signed_in.get(f"/usage.json?{week}&table=model-time").json["rows"]
    assert {row["model"] for row in trends} == {"gpt-4o-mini", "claude-sonnet-4-6"}
    assert sum(row["requests"] for row in trends) == 2


def test_csv_for_spreadsheets_starts_with_a_byte_order_mark(signed_in, customer, record):
    record(customer, {"model": "modèle"})
    assert signed_in.get(f"/usage.csv?{RANGE}&table=model&bom=1").data.startswith(b"\xef\xbb\xbfmodel,")
    assert signed_in.get(f"/usage.csv?{RANGE}&table=model").data.startswith(b"model,")


def test_days_are_in_the_time_zone_of_the_reader(signed_in, customer, record):
    record(customer, {"time_us": int(datetime(2026, 5, 20, 20, tzinfo=UTC).timestamp() * 1e6)})
    signed_in.client.set_cookie("keygauge_zone", "Asia/Kathmandu")
    (day,) = rows(signed_in.get("/usage.csv?from=2026-05-21&to=2026-05-21&bucket=day"))
    assert (day["day"], day["requests"]) == ("2026-05-21T00:00:00+05:45", "1")


def test_free_usage_costs_zero_in_csv_and_json(signed_in, customer, record):
    record(customer, {"model": None, "input_tokens": 0, "output_tokens": 0})
    (row,) = signed_in.get(f"/usage.json?{RANGE}&table=model").json["rows"]
    assert row["cost_usd"] == rows(signed_in.get(f"/usage.csv?{RANGE}&table=model"))[0]["cost_usd"] == "0.000000000"
