import csv
import json

import pytest

from keygauge_keyservice.accounts import plans
from keygauge_keyservice.commands import usage
from keygauge_keyservice.ledger import backfill
from keygauge_keyservice.pricing.public_prices import PublicPrices

pytestmark = pytest.mark.usefixtures("metered")


@pytest.mark.usefixtures("used")
def test_usage_is_shown_with_totals_and_budgets(run):
    shown = run("usage", "--account", "acme", "--from", "2026-05-20", "--to", "2026-05-21T00:00:00Z")
    for figure in ("\t1200\t", "\t1201\t", "gpt-4o-mini", "[red]odd[/red]", "$0.1611", "monthly", "\t5,000\t"):
        assert figure in shown


@pytest.mark.usefixtures("used")
def test_rates_and_concurrent_requests_are_shown(run, connection):
    limits = [
        plans.Limit(name="rpm", unit="request", amount=6_000, window_s=60),
        plans.Limit(name="spend", unit="nanousd", amount=5 * 10**9, window_s=3_600, model="gpt-4o*"),
        plans.Limit(name="at_once", unit="concurrent", amount=4, dry_run=True),
    ]
    plans.replace_limits(connection, "ledger", limits, actor="test")
    shown = run("usage", "--account", "acme").splitlines()
    assert shown[shown.index("RATE\tWINDOW\tUSED\tAMOUNT\tREMAINING") + 1 :] == [
        "at_once (dry run)\tat once\t0\t4\t4",
        "rpm\t1m\t0\t6,000\t6,000",
        "spend (gpt-4o* only)\t1h\t$0.0000\t$5.0000\t$5.0000",
    ]
    assert "RATE\t" not in run("usage")
    assert [one["name"] for one in json.loads(run("usage", "--account", "acme", "-o", "json"))["pace"]["rates"]] == [
        "at_once",
        "rpm",
        "spend",
    ]


@pytest.mark.usefixtures("metered")
def test_other_usage_kinds_are_shown_if_there_are_any(run, connection, make_event):
    span = ("--from", "2026-05-20T00:00:00Z", "--to", "2026-05-21T00:00:00Z")
    backfill.write_history(connection, [make_event()], PublicPrices(), spool="1")
    assert "Audio" not in run("usage", "--account", "acme", *span)
    backfill.write_history(connection, [make_event(details={"input_audio": 1_234})], PublicPrices(), spool="2")
    assert "Audio input tokens" in (shown := run("usage", "--account", "acme", *span))
    assert "1234" in shown


@pytest.mark.usefixtures("metered")
def test_usage_is_shown_by_tag_and_for_one_tag(run, connection, make_event):
    events = [make_event(tag="alice"), make_event(tag="O'Brien, x"), make_event(tag="alice", status=500), make_event()]
    backfill.write_history(connection, events, PublicPrices(), spool="test")
    span = ("--account", "acme", "--from", "2026-05-20", "--to", "2026-05-21")
    shown = run("usage", "--by", "tag", *span)
    assert shown.splitlines()[0].startswith("TAG\tREQUESTS")
    for row in ("alice\t2\t", "O'Brien, x\t1\t", "\n-\t1\t", "total\t4\t"):
        assert row in shown
    assert "acme-live\t2\t" in run("usage", "--tag", "alice", *span)
    listed = run("calls", "list", "--tag", "O'Brien, x", *span)
    assert listed.count("O'Brien, x") == 1
    assert "alice" not in listed


@pytest.mark.usefixtures("used")
def test_usage_is_shown_by_any_grouping(run):
    span = ("--from", "2026-05-20", "--to", "2026-05-21")
    for by, name in (("key", "acme-live"), ("route", "/v1/chat/completions"), ("status", "5xx"), ("account", "acme")):
        assert name in run("usage", "--by", by, *span)
    shown = run("usage", "--by", "key,status", *span)
    assert shown.splitlines()[0].startswith("KEY\tSTATUS\tREQUESTS")
    assert "acme-live\t5xx\t1\t" in shown
    assert "key, route, model" in run("usage", "--by", "key,moon", code=2)
    document = json.loads(run("usage", "--by", "model", "-o", "json", *span))
    assert document["totals"]["requests"] == sum(one["requests"] for one in document["results"][0]["groups"]) == 1_201


@pytest.mark.usefixtures("used")
def test_programs_get_only_the_groups(run):
    span = ("--account", "acme", "--from", "2026-05-20", "--to", "2026-05-21")
    assert run("usage", *span, "--quiet").splitlines() == ["gpt-4o-mini", "[red]odd[/red]"]
    assert run("usage", *span, "--by", "key,status", "-q").splitlines() == ["acme-live\t2xx", "acme-live\t5xx"]
    _, *rows = csv.reader(run("usage", *span, "--output", "csv").splitlines())
    assert sum(int(row[1]) for row in rows) == 1_201


@pytest.mark.parametrize(
    ("words", "message", "code"),
    [
        (("--account", "nobody"), "no account", 1),
        (("--from", "2026-05-20T00:00"), "offset", 2),
        (("--from", "2030-01-01", "--to", "2029-01-01"), "empty", 1),
    ],
)
def test_errors_are_reported_without_a_traceback(run, words, message, code):
    shown = run("usage", *words, code=code)
    assert message in shown
    assert "Traceback" not in shown


@pytest.mark.usefixtures("metered")
def test_cost_per_kind_is_shown(run, connection, make_event):
    events = [make_event(model="gpt-4o", input_tokens=1_000_000, output_tokens=100_000, cache_read_tokens=400_000)]
    backfill.write_history(connection, events, PublicPrices(), spool="test")
    shown = run("usage", "--account", "acme", "--from", "2026-05-20", "--to", "2026-05-21").splitlines()
    for title, figures in (
        ("Input tokens", "600000\t$1.50"),
        ("Output tokens", "100000\t$1.00"),
        ("Cached input tokens", "400000\t$0.50"),
    ):
        assert f"{title}\t{figures}" in shown


@pytest.mark.parametrize(
    ("resets_at", "shown"),
    [("2026-05-21T00:00:00Z", "2026-05-21"), ("2026-05-20T23:00:00Z", "2026-05-20 23:00"), (None, "never")],
)
def test_reset_is_shown_with_its_time_unless_at_midnight(resets_at, shown):
    assert usage._resets({"resets_at": resets_at}) == shown
