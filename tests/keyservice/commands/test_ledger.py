import json
from datetime import UTC, datetime, timedelta

import pytest

from keygauge.cli import main
from keygauge_keyservice.ledger import aside, backfill, ingest, partition
from keygauge_keyservice.pricing.public_prices import PublicPrices
from keygauge_keyservice.sync import service_keys

pytestmark = pytest.mark.usefixtures("metered")


def test_only_months_past_their_retention_are_dropped(run, connection):
    now = datetime.now(UTC)
    months = [partition.month_of(now - timedelta(days=days)) for days in (0, 45, 100)]
    partition.ensure(connection, months)
    assert f"{months[2]:%Y-%m}" in run("ledger", "prune", "--days", "50")
    kept = {row["t"] for row in connection.execute("SELECT inhrelid::regclass::text AS t FROM pg_inherits")}
    assert {f"event_{month:%Y_%m}" for month in months[:2]} <= kept
    assert f"event_{months[2]:%Y_%m}" not in kept
    assert "Nothing" in run("ledger", "prune", "--days", "50")


def test_reconcile_prints_differences_and_fails(run, connection, make_event, capsys):
    now_us = int(datetime.now(UTC).timestamp() * 1e6)
    backfill.write_history(connection, [make_event()._replace(time_us=now_us)], PublicPrices(), spool="test")
    run("ledger", "reconcile")
    connection.execute("DELETE FROM event")
    assert main(("ledger", "reconcile", "--hours", "3")) == 1
    assert "acme" in capsys.readouterr().out


def test_events_set_aside_are_listed_and_retaken(run, connection, make_line):
    service_keys.add(connection, "shop", ["acme-live"])
    now = datetime.now(UTC)
    line = make_line(time_us=round(now.timestamp() * 1e6), output_tokens=30_000_000)
    ingest.take_batch(connection, "a1", 0, [line, b"nonsense"], PublicPrices(), service="shop", now=now)
    listed = run("ledger", "aside")
    assert "implausible_event" in listed
    assert "bad_json" in listed
    assert [one["events"] for one in json.loads(run("ledger", "aside", "--output", "json"))["events"]] == [1, 1]
    assert run("ledger", "aside", "--quiet").splitlines() == ["bad_json", "implausible_event"]
    assert "Took 1 of 1" in run("ledger", "retake", "implausible_event", "--service", "shop")
    assert connection.execute("SELECT count(*) AS events FROM event").fetchone()["events"] == 1
    run("ledger", "retake", "bad_json", "--service", "shop", code=1)  # it still cannot be read
    assert [row["reason"] for row in aside.count(connection)] == ["bad_json"]
