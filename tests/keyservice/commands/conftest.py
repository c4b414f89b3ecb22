import pytest

from keygauge.cli import main
from keygauge_keyservice.accounts import accounts, plans
from keygauge_keyservice.ledger import backfill
from keygauge_keyservice.pricing.public_prices import PublicPrices


@pytest.fixture
def run(capsys, monkeypatch, database_url, tmp_path):
    """`run(*words, code=0)` runs a command on the database and returns its output, or its errors if `code` is not 0."""
    monkeypatch.setenv("KEYGAUGE_DATABASE_URL", database_url)
    monkeypatch.setenv("KEYGAUGE_DATA_DIR", str(tmp_path))
    for name in ("KEYGAUGE_URL", "KEYGAUGE_TOKEN", "KEYGAUGE_ADMIN_TOKEN"):
        monkeypatch.delenv(name, raising=False)

    def run(*words, code=0):
        ended = main(words)
        captured = capsys.readouterr()
        assert ended == code, captured.err
        return captured.out if code == 0 else captured.err

    return run


@pytest.fixture
def account(connection):
    plans.create(connection, plan_id="free", name="Free", limits=[], actor="test")
    return accounts.create(connection, name="Acme", plan_id="free", actor="test")


@pytest.fixture
def used(connection, metered, make_event):
    """1,201 calls of acme, one of which failed, and a quota."""
    events = [make_event(-number, key=metered["acme"][0]) for number in range(1_200)] + [
        make_event(model="[red]odd[/red]", status=500)
    ]
    backfill.write_history(connection, events, PublicPrices(), spool="test")
    connection.execute(
        "INSERT INTO plan_limit (plan_id, name, unit, amount, period) "
        "VALUES ('ledger', 'monthly', 'request', 5000, 'month')"
    )
