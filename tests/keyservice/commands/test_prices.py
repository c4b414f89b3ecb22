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
    assert f"1 of 1 call changed, +{cost / 1e9:.9f}" in shown
    assert connection.execute(
        "SELECT cost_nanousd FROM usage_aggregate WHERE length_s = 604800 LIMIT 1"
    ).fetchone() == {"cost_nanousd": cost}


def test_prices_in_force_are_listed(run):
    for since, rate in (("2026-01-01", "7"), ("2026-02-01", "8"), ("2999-01-01", "9")):
        run("prices", "create", "gpt-4o-mini", "--tier", f"input={rate}", "--from", f"{since}T00:00:00Z")

    def versions(*words):
        listed = json.loads(run("prices", "list", *words, "-o", "json"))["prices"]
        return [price["version"] for price in listed if price["source"] == "own"], len(listed)

    own, count = versions("GPT-4o")
    assert (own, count > 3) == (["own 3", "own 2"], True)
    assert versions("--own", "--past") == (["own 3", "own 2", "own 1"], 3)
    assert versions()[1] > 1_000
    assert versions("no such model") == ([], 0)


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (("create", "m", "--tier", "tea=1"), "--tier 'tea=1': tea is not known here", 1),
        (("create", "m", "--tier", "input=x"), "--tier 'input=x': input must be an amount in US dollars", 1),
        (("create", "m", "--tier", "input=1", "--tier", "9:input=-1"), "--tier '9:input=-1': input must be an", 1),
        (("create", "m", "--tier", "x:input=1"), "--tier 'x:input=1': the number of input tokens must be", 1),
        (("create", "m", "--tier", "input=1", "--account", "nobody"), "nobody", 1),
        (("rerate", "--from", "2026-05-20T00:00"), "offset", 2),
        (("rerate", "--from", "2999-01-01T00:00:00Z"), "range", 1),
    ],
)
def test_errors_are_reported_without_a_traceback(run, arguments, message, code):
    shown = run("prices", *arguments, code=code)
    assert message in shown
    assert "Traceback" not in shown
