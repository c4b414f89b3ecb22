from datetime import UTC, datetime, timedelta

import pytest

from keygauge.cli import main
from keygauge_keyservice.ledger import backfill, partition
from keygauge_keyservice.pricing.public_prices import PublicPrices

pytestmark = pytest.mark.usefixtures("metered")


@pytest.fixture
def run(capsys, monkeypatch, database_url, tmp_path):
    monkeypatch.setenv("KEYGAUGE_DATABASE_URL", database_url)
    monkeypatch.setenv("KEYGAUGE_DATA_DIR", str(tmp_path))

    def run(*arguments):
        try:
            code = main(arguments)
        except SystemExit as ending:  # argparse's own
            code = ending.code
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return run


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
    code, shown = run("usage", "acme", "--from", "2026-05-20T00:00:00Z", "--to", "2026-05-21T00:00:00Z")
    assert code == 0
    for figure in ("1,200", "1,201", "gpt-4o-mini", "[red]odd[/red]", "0.1611", "monthly", "5,000"):
        assert figure in shown


@pytest.mark.usefixtures("metered")
def test_other_kinds_of_use_are_shown_where_there_are_any(run, connection, make_event):
    span = ("--from", "2026-05-20T00:00:00Z", "--to", "2026-05-21T00:00:00Z")
    backfill.write_history(connection, [make_event()], PublicPrices(), spool="1")
    assert "Other kinds" not in run("usage", "acme", *span)[1]
    backfill.write_history(connection, [make_event(details={"input_audio": 1_234})], PublicPrices(), spool="2")
    assert "Audio input tokens" in (shown := run("usage", "acme", *span)[1])
    assert "1,234" in shown


@pytest.mark.usefixtures("used")
def test_usage_is_shown_by_any_grouping(run):
    for by, name in (("key", "acme-live"), ("route", "/v1/chat/completions"), ("status", "5xx"), ("account", "acme")):
        code, shown = run("usage", "--by", by, "--from", "2026-05-20T00:00:00Z", "--to", "2026-05-21T00:00:00Z")
        assert (code, name in shown) == (0, True)
    code, shown = run("usage", "--by", "key,status", "--from", "2026-05-20T00:00:00Z", "--to", "2026-05-21T00:00:00Z")
    assert (code, "acme-live" in shown, "5xx" in shown) == (0, True, True)
    code, shown = run("usage", "--by", "key,moon")
    assert (code, "key, route, model" in shown) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nobody",), "no account"),
        (("--from", "2026-05-20"), "offset"),
        (("--from", "2030-01-01T00:00:00Z", "--to", "2029-01-01T00:00:00Z"), "empty"),
    ],
)
def test_a_wrong_question_is_told_plainly(run, arguments, message):
    code, shown = run("usage", *arguments)
    assert code != 0
    assert message in shown
    assert "Traceback" not in shown


def test_months_past_their_retention_are_dropped_and_no_others(run, connection):
    now = datetime.now(UTC)
    months = [partition.month_of(now - timedelta(days=days)) for days in (0, 45, 100)]
    partition.ensure(connection, months)
    code, shown = run("ledger", "prune", "--days", "50")
    assert code == 0
    assert f"{months[2]:%Y-%m}" in shown
    kept = {row["t"] for row in connection.execute("SELECT inhrelid::regclass::text AS t FROM pg_inherits")}
    assert {f"event_{month:%Y_%m}" for month in months[:2]} <= kept
    assert f"event_{months[2]:%Y_%m}" not in kept
    assert "Nothing" in run("ledger", "prune", "--days", "50")[1]
