import pytest


def test_call_log_is_paginated(get):
    first = get("/v1/calls", account="acme", limit=30).json
    second = get("/v1/calls", account="acme", limit=30, after=first["next"]).json
    assert (len(first["calls"]), len(second["calls"]), second["next"]) == (30, 19, None)
    assert first["calls"][0]["cost_nanousd"] == 90 * 150 + 10 * 75 + 200 * 600
    failed = get("/v1/calls", account="acme", status="5xx").json["calls"]
    assert [(call["key_id"], call["input_tokens"], call["cost_nanousd"]) for call in failed] == [
        ("acme-test", None, None)
    ]


def test_call_log_csv_has_every_call(get_csv):
    rows = get_csv("/v1/calls", account="acme")
    assert len(rows) == 49
    assert rows[0]["cost_usd"] == "0.000134250"


@pytest.mark.usefixtures("tagged")
def test_call_log_shows_tags_and_filters_by_them(get, get_csv):
    calls = get("/v1/calls", account="acme", tag="a,b").json["calls"]
    assert [(call["tag"], call["key_id"]) for call in calls] == [("a,b", "acme-test")]
    assert get("/v1/calls", account="acme", tag="a").json["calls"] == []
    assert [row["tag"] for row in get_csv("/v1/calls", account="acme", tag="alice")] == ["alice"] * 2
