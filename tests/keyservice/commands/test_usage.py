import json
from datetime import UTC, datetime, timedelta

import pytest

from keygauge_keyservice.commands import calls, usage
from keygauge_keyservice.commands.connection.client import Api
from keygauge_keyservice.ledger import backfill, partition
from keygauge_keyservice.pricing.public_prices import PublicPrices

pytestmark = pytest.mark.usefixtures("metered")


@pytest.fixture
def used(connection, metered, make_event):
    events = [make_event(-number, key=metered["acme"][0]) for number in range(1_200)] + [
        make_event(model="[red]odd[/red]", status=500)
    ]
    backfill.write_history(connection, events, PublicPrices(), spool="test")
    connection.execute(
        "INSERT INTO plan_limit (plan_id, name, unit, amount, period) "
        "VALUES ('ledger', 'monthly', 'request', 5000, 'month')"
    )


@pytest.mark.usefixtures("used")
def test_usage_is_shown_with_totals_and_budgets(run):
    shown = run("usage", "--account", "acme", "--from", "2026-05-20", "--to", "2026-05-21T00:00:00Z")
    for figure in ("\t1200\t", "\t1201\t", "gpt-4o-mini", "[red]odd[/red]", "$0.1611", "monthly", "\t5,000\t"):
        assert figure in shown


@pytest.mark.usefixtures("metered")
def test_other_kinds_of_use_are_shown_where_there_are_any(run, connection, make_event):
    span = ("--from", "2026-05-20T00:00:00Z", "--to", "2026-05-21T00:00:00Z")
    backfill.write_history(connection, [make_event()], PublicPrices(), spool="1")
    assert "Audio" not in run("usage", "--account", "acme", *span)
    backfill.write_history(connection, [make_event(details={"input_audio": 1_234})], PublicPrices(), spool="2")
    assert "Audio input tokens" in (shown := run("usage", "--account", "acme", *span))
    assert "1234" in shown


@pytest.mark.usefixtures("metered")
def test_usage_is_shown_by_tag_and_of_one(run, connection, make_event):
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


@pytest.mark.parametrize(
    ("words", "message", "code"),
    [
        (("--account", "nobody"), "no account", 1),
        (("--from", "2026-05-20T00:00"), "offset", 2),
        (("--from", "2030-01-01", "--to", "2029-01-01"), "empty", 1),
    ],
)
def test_a_wrong_question_is_told_plainly(run, words, message, code):
    shown = run("usage", *words, code=code)
    assert message in shown
    assert "Traceback" not in shown


@pytest.mark.usefixtures("used")
def test_single_calls_are_listed(run):
    span = ("--account", "acme", "--from", "2026-05-20", "--to", "2026-05-21")
    assert len(run("calls", "list", *span).splitlines()) == 101
    (call,) = json.loads(run("calls", "list", *span, "--status", "5xx", "-o", "json"))["calls"]
    assert call["model"] == "[red]odd[/red]"
    assert len(run("calls", "list", *span, "--limit", "700", "-q").split()) == 700


def test_calls_are_followed_as_they_come(connection, make_event):
    now = datetime.now(UTC)

    def add(number):
        event = make_event(time_us=round((now + timedelta(seconds=number)).timestamp() * 1e6), status=200 + number)
        backfill.write_history(connection, [event], PublicPrices(), spool=str(number))

    pages = []

    def send(method, path, query, body):
        found = connection.execute(
            "SELECT id::text, status FROM event WHERE time >= %s ORDER BY time DESC", (query["from"],)
        )
        pages.append(query)
        return 200, json.dumps({"calls": found.fetchall(), "next": None}).encode()

    followed = calls._follow(Api(send), {"account": "acme"}, wait=lambda _: add(len(pages)))
    assert [next(followed)["status"] for _ in range(3)] == [201, 202, 203]


def test_months_past_their_retention_are_dropped_and_no_others(run, connection):
    now = datetime.now(UTC)
    months = [partition.month_of(now - timedelta(days=days)) for days in (0, 45, 100)]
    partition.ensure(connection, months)
    assert f"{months[2]:%Y-%m}" in run("ledger", "prune", "--days", "50")
    kept = {row["t"] for row in connection.execute("SELECT inhrelid::regclass::text AS t FROM pg_inherits")}
    assert {f"event_{month:%Y_%m}" for month in months[:2]} <= kept
    assert f"event_{months[2]:%Y_%m}" not in kept
    assert "Nothing" in run("ledger", "prune", "--days", "50")


@pytest.mark.usefixtures("metered")
def test_what_each_kind_cost_is_shown(run, connection, make_event):
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
def test_the_moment_of_a_reset_has_a_time_where_it_is_not_midnight(resets_at, shown):
    assert usage._resets({"resets_at": resets_at}) == shown
