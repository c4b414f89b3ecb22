import csv

import pytest


@pytest.fixture
def calls(signed_in, customer, record):
    record(customer, {}, {"status": 500, "error": "ValueError"})


@pytest.mark.parametrize("kind", ["now", "quotas", "attention"])
def test_each_table_is_the_same_as_csv_and_json(signed_in, calls, kind):
    rows = signed_in.get(f"/{kind}.json").json[kind]
    written = list(csv.DictReader(signed_in.get(f"/{kind}.csv").text.splitlines()))
    assert [set(row) for row in written] == [set(row) for row in rows]
    assert rows or kind == "attention"


def test_rates_and_quotas_of_the_plan_are_listed(signed_in, calls):
    assert {row["name"] for row in signed_in.get("/now.json").json["now"]} >= {"rpm"}
    [quota] = signed_in.get("/quotas.json").json["quotas"]
    assert (quota["name"], quota["amount"], quota["remaining"]) == ("monthly_requests", 20_000, 20_000 - quota["used"])


def test_unknown_table_is_not_found(signed_in):
    assert signed_in.get("/keys_of_others.json").status_code == 404
