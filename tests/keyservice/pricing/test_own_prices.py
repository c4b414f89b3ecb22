import json
from datetime import UTC, datetime

import pytest

from keygauge.cli import main
from keygauge.pricing.rates import Rates
from keygauge_keyservice.errors import Problem
from keygauge_keyservice.ledger import backfill
from keygauge_keyservice.pricing.price_terms import parse_tiers
from keygauge_keyservice.pricing.public_prices import PublicPrices

pytestmark = pytest.mark.usefixtures("metered")


@pytest.fixture
def run(capsys, monkeypatch, database_url, tmp_path):
    monkeypatch.setenv("KEYGAUGE_DATABASE_URL", database_url)
    monkeypatch.setenv("KEYGAUGE_DATA_DIR", str(tmp_path))

    def run(*arguments):
        code = main(arguments)
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return run


def test_dollars_become_whole_nano_dollars_per_million():
    assert parse_tiers(["input=2.5,output=10,request=0.001", "200000:input=5,cache_read=0.5"]) == [
        Rates(-1, 2_500_000_000, 10**10, 2_500_000_000, 2_500_000_000, 10**10, 10**12),
        Rates(200_000, 5 * 10**9, 0, 5 * 10**8, 5 * 10**9, 0, 0),
    ]


@pytest.mark.parametrize(
    "texts", [["input"], ["input=-1"], ["input=0.0000000001"], ["tea=1"], ["5:input=1"], ["input=nan"], ["input=1"] * 2]
)
def test_a_price_that_makes_no_sense_is_refused(texts):
    with pytest.raises(Problem):
        parse_tiers(texts)


def test_an_own_price_holds_for_the_next_batch_of_every_process(client, operator, replica, make_line, connection):
    now_us = int(datetime.now(UTC).timestamp() * 1e6)
    line = make_line(time_us=now_us, model="house-1", provider="vllm") + b"\n"
    assert client.post("/v1/events?spool=ab&first=0", data=line, headers=replica).status_code == 200
    body = {"model": "House-1", "tiers": [{"input": 10**9, "output": 2 * 10**9}], "valid_from": "2020-01-01T00:00:00Z"}
    answer = client.post("/v1/prices", json=body, headers=operator)
    assert (answer.status_code, answer.json["tiers"][0]["reasoning"]) == (201, 2 * 10**9)
    client.post("/v1/events?spool=ab&first=1", data=line, headers=replica)
    rows = connection.execute("SELECT cost_nanousd, price_version FROM event ORDER BY cost_nanousd").fetchall()
    assert [tuple(row.values()) for row in rows] == [(500_000, answer.json["version"]), (None, None)]
    assert client.get("/v1/prices", headers=operator).json["prices"] == [answer.json]


@pytest.mark.parametrize(
    "change", [{"tiers": []}, {"tiers": [{"input": -1}]}, {"model": ""}, {"account": "nobody"}, {"more": 1}]
)
def test_a_wrong_price_is_refused_over_http(client, operator, change):
    body = {"model": "m", "tiers": [{"input": 1}]} | change
    assert client.post("/v1/prices", json=body, headers=operator).status_code in {404, 422}
    assert client.get("/v1/prices", headers=operator).json["prices"] == []


def test_prices_are_for_operators(client, replica):
    assert client.get("/v1/prices", headers=replica).status_code in {401, 403}


def test_prices_are_set_listed_and_past_calls_re_rated(run, connection, make_event):
    backfill.write_history(connection, [make_event(model="[b]m[/b]")], PublicPrices(), spool="test")
    tiers = ("--tier", "input=1,cache_read=0.1", "--tier", "50:input=2.5,output=3,request=0.01")
    code, shown = run("prices", "create", "[b]m[/b]", *tiers, "--account", "acme", "--from", "2026-01-01T00:00:00Z")
    assert (code, "0.01" in shown, "2.5" in shown) == (0, True, True)
    code, shown = run("prices", "list")
    assert (code, "[b]m[/b]" in shown, "own 1" in shown) == (0, True, True)
    code, shown = run("prices", "rerate", "--from", "2026-05-20T00:00:00Z", "--to", "2026-05-21T00:00:00Z")
    cost = 90 * 2_500 + 10 * 2_500 + 200 * 3_000 + 10_000_000
    assert code == 0
    assert f"1 of 1 calls changed, +{cost / 1e9:.9f}" in shown
    assert connection.execute(
        "SELECT cost_nanousd FROM usage_aggregate WHERE length_s = 604800 LIMIT 1"
    ).fetchone() == {"cost_nanousd": cost}


def test_prices_in_force_are_listed_with_their_source(run, make_event):
    for since, rate in (("2026-01-01", "7"), ("2026-02-01", "8"), ("2999-01-01", "9")):
        run("prices", "create", "gpt-4o-mini", "--tier", f"input={rate}", "--from", f"{since}T00:00:00Z")
    listed = json.loads(run("prices", "list", "GPT-4o", "-o", "json")[1])["prices"]
    own = [entry for entry in listed if entry["source"] == "own"]
    assert [(entry["version"], entry["tiers"][0]["input"]) for entry in own] == [
        ("own 3", 9_000_000_000),
        ("own 2", 8_000_000_000),
    ]
    public = next(entry for entry in listed if (entry["provider"], entry["model"]) == ("openai", "gpt-4o-mini"))
    cost = PublicPrices()(make_event(model="gpt-4o-mini", provider="openai", input_tokens=10**6, output_tokens=0,
                                     cache_read_tokens=0))  # fmt: skip
    assert (public["source"], public["version"]) == ("public", cost.price_version)
    assert public["tiers"][0]["input"] == cost.nanousd  # a million tokens
    assert all("gpt-4o" in entry["model"] for entry in listed)
    assert len(json.loads(run("prices", "list", "-o", "json")[1])["prices"]) > 1_000
    assert len(json.loads(run("prices", "list", "-o", "json", "--own", "--past")[1])["prices"]) == 3
    assert json.loads(run("prices", "list", "no such model", "-o", "json")[1])["prices"] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("create", "m", "--tier", "tea=1"), "tea"),
        (("create", "m", "--tier", "input=1", "--account", "nobody"), "nobody"),
        (("rerate", "--from", "2026-05-20T00:00"), "offset"),
        (("rerate", "--from", "2999-01-01T00:00:00Z"), "range"),
    ],
)
def test_what_is_wrong_is_told_plainly(run, arguments, message):
    code, shown = run("prices", *arguments)
    assert code != 0
    assert message in shown
    assert "Traceback" not in shown
