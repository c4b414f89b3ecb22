import json

import pytest

from keygauge_keyservice.ledger import backfill
from keygauge_keyservice.pricing.public_prices import PublicPrices

pytestmark = pytest.mark.usefixtures("metered")


def test_prices_are_set_listed_and_past_calls_re_rated(run, connection, make_event):
    backfill.write_history(connection, [make_event(model="[b]m[/b]")], PublicPrices(), spool="test")
    tiers = ("--tier", "input=1,cache_read=0.1", "--tier", "50:input=2.5,output=3,request=0.01")
    shown = run("prices", "create", "[b]m[/b]", *tiers, "--account", "acme", "--from", "2026-01-01T00:00:00Z")
    assert ("0.01" in shown, "2.5" in shown) == (True, True)
    shown = run("prices", "list")
    assert ("[b]m[/b]" in shown, "own 1" in shown) == (True, True)
    cost = 90 * 2_500 + 10 * 2_500 + 200 * 3_000 + 10_000_000
    shown = run("prices", "rerate", "--from", "2026-05-20T00:00:00Z", "--to", "2026-05-21T00:00:00Z")
    assert f"1 of 1 calls changed, +{cost / 1e9:.9f}" in shown
    assert connection.execute(
        "SELECT cost_nanousd FROM usage_aggregate WHERE length_s = 604800 LIMIT 1"
    ).fetchone() == {"cost_nanousd": cost}


def test_prices_in_force_are_listed_with_their_source(run, make_event):
    for since, rate in (("2026-01-01", "7"), ("2026-02-01", "8"), ("2999-01-01", "9")):
        run("prices", "create", "gpt-4o-mini", "--tier", f"input={rate}", "--from", f"{since}T00:00:00Z")
    listed = json.loads(run("prices", "list", "GPT-4o", "-o", "json"))["prices"]
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
    assert len(json.loads(run("prices", "list", "-o", "json"))["prices"]) > 1_000
    assert len(json.loads(run("prices", "list", "-o", "json", "--own", "--past"))["prices"]) == 3
    assert json.loads(run("prices", "list", "no such model", "-o", "json"))["prices"] == []


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (("create", "m", "--tier", "tea=1"), "tea", 1),
        (("create", "m", "--tier", "input=1", "--account", "nobody"), "nobody", 1),
        (("rerate", "--from", "2026-05-20T00:00"), "offset", 2),
        (("rerate", "--from", "2999-01-01T00:00:00Z"), "range", 1),
    ],
)
def test_what_is_wrong_is_told_plainly(run, arguments, message, code):
    shown = run("prices", *arguments, code=code)
    assert message in shown
    assert "Traceback" not in shown
