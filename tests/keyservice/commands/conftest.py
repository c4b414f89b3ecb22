import pytest

from keygauge.cli import main
from keygauge_keyservice.accounts import accounts, plans


@pytest.fixture
def run(capsys, monkeypatch, database_url, tmp_path):
    """`run(*words, code=0)` runs a command on the database: what it printed, or on failure what it complained of."""
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
