"""The customers are created once, with their history; a second start finds them."""

import io
import stat
from datetime import UTC, datetime
from itertools import islice

import pytest
import rich.console
from hypothesis import settings as hypothesis_settings

from keygauge_demo.console import DemoConsole
from keygauge_demo.customers import history, profiles, seed
from keygauge_demo.settings import DemoError
from keygauge_keyservice.accounts import accounts, memberships, passwords, plans
from keygauge_keyservice.billing import billing
from keygauge_keyservice.keys import keys

NOW = datetime.now(UTC)


@pytest.fixture
def console():
    return DemoConsole(rich.console.Console(file=io.StringIO(), width=200))


@pytest.fixture
def planted(connection, settings, tmp_path):
    return seed.load_or_create(connection, peppers=settings.peppers, file=tmp_path / "seed.json", now=NOW)


def count(connection, table):
    return connection.execute(f"SELECT count(*) AS rows FROM {table}").fetchone()["rows"]


def test_seed_is_created(connection, planted):
    assert {account.name for account in accounts.list_accounts(connection)} == {a.name for a in profiles.ACCOUNTS}
    free = {limit.name: limit.amount for limit in plans.require(connection, "free").limits}
    assert free == {"rpm": 1, "monthly_requests": 50}
    assert keys.require(connection, planted.key_ids["Old CI pipeline"]).status == "disabled"
    assert keys.require(connection, planted.key_ids["Staging"]).environment == "test"
    for account in profiles.ACCOUNTS:
        _, password_hash = memberships.find_credentials(connection, account.email)
        assert passwords.verify(password_hash, planted.password)


def test_second_start_finds_the_seed(connection, settings, planted, tmp_path):
    again = seed.load_or_create(
        connection, peppers=settings.peppers, file=tmp_path / "seed.json", now=datetime.now(UTC)
    )
    assert again == planted
    assert count(connection, "account") == len(profiles.ACCOUNTS)


def test_secrets_are_readable_by_their_owner_only(planted, tmp_path):
    file = tmp_path / "seed.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert planted.password not in repr(planted)
    assert not [token for token in planted.tokens.values() if token in repr(planted)]


def test_missing_tokens_file_is_reported(connection, settings, planted, tmp_path):
    assert planted
    with pytest.raises(DemoError, match="does not know their keys: remove"):
        seed.load_or_create(connection, peppers=settings.peppers, file=tmp_path / "other.json", now=NOW)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"created_at": "2026-01-01", "surprise": 1}'])
def test_damaged_file_is_reported_with_the_fix(tmp_path, text):
    (tmp_path / "seed.json").write_text(text)
    with pytest.raises(DemoError, match=r"seed\.json cannot be read .*: remove "):
        seed.read(tmp_path / "seed.json")


def charged(connection):
    """Return the used amounts of all accounts' quotas."""
    return connection.execute(
        "SELECT sum(cells[1]) FILTER (WHERE unit = 'request')::bigint AS requests, "
        "sum(cells[1]) FILTER (WHERE unit = 'nanousd')::bigint AS nanousd, min(head) AS head "
        "FROM limit_state JOIN plan_limit ON plan_limit.id = split_part(limit_state.id, ':', 1)::bigint"
    ).fetchone()


def ledger_cost(connection, account_id):
    return connection.execute(
        "SELECT sum(cost_nanousd)::bigint AS cost FROM event "
        "WHERE account_id = %s AND outcome = 'admitted' AND time >= date_trunc('month', now())",
        (account_id,),
    ).fetchone()["cost"]


def test_history_is_loaded_once_and_charged_to_the_quotas(connection, planted, console):
    history.load(connection, planted, console=console)
    events = count(connection, "event")
    assert events > 50_000
    used = charged(connection)
    admitted = connection.execute(
        "SELECT count(*) AS rows FROM event WHERE outcome = 'admitted' AND time >= date_trunc('month', now())"
    ).fetchone()["rows"]
    assert used["requests"] == admitted
    assert used["nanousd"] == ledger_cost(connection, planted.account_ids["Web app"]) > 0
    assert used["head"] == int(NOW.replace(day=1, hour=0, minute=0, second=0, microsecond=0).timestamp())
    history.load(connection, planted, console=console)
    assert count(connection, "event") == events
    assert charged(connection) == used


def test_months_of_the_history_are_billed_in_full(connection, planted, console, monkeypatch):
    every = 1 if hypothesis_settings.get_current_profile_name() == "long" else 10
    calls = islice(history.compose(planted, until=planted.created_at), None, None, every)
    monkeypatch.setattr(history, "compose", lambda *_, **__: calls)
    billing.close_periods(connection)  # as the key service does, which starts while the history is written
    history.load(connection, planted, console=console)
    billed = sum(invoice.requests for invoice in billing.list_invoices(connection))
    month = connection.execute(
        "SELECT count(*) AS calls FROM event WHERE time < (SELECT max(period) + interval '1 month' FROM invoice)"
    ).fetchone()
    assert billed == month["calls"] > 0


def test_interrupted_history_is_completed(connection, planted, console, monkeypatch):
    whole = list(history.compose(planted, until=planted.created_at))[:2500]
    monkeypatch.setattr(history, "compose", lambda *_, **__: whole[:1000])
    history.load(connection, planted, console=console)
    monkeypatch.setattr(history, "compose", lambda *_, **__: whole)
    history.load(connection, planted, console=console)
    assert count(connection, "event") == 2500
