"""The checks of the database in `keygauge doctor`."""

import pytest

from keygauge.cli import main
from keygauge_keyservice import citus, database
from keygauge_keyservice.commands.connection import database_check


@pytest.fixture
def doctor(monkeypatch, capsys):
    """Run `keygauge doctor` on a host of the key service: (url) -> exit status and output."""
    monkeypatch.delenv("KEYGAUGE_SERVICE_URL", raising=False)

    def doctor(url):
        monkeypatch.setenv("KEYGAUGE_DATABASE_URL", url)
        return main(["doctor"]), capsys.readouterr().out

    return doctor


def test_a_complete_database_is_good(doctor, database_url):
    assert doctor(database_url) == (0, "ok    the database has all tables of this version\n")


def test_a_database_without_tables_is_reported(doctor, empty_database_url):
    count = len(database.migrations())
    assert doctor(empty_database_url) == (1, f"FAIL  the database lacks {count} migrations: run 'keygauge migrate'\n")


def test_an_unreachable_database_is_reported(doctor):
    status, output = doctor("postgresql://127.0.0.1:1/none")
    assert status == 1
    assert "check KEYGAUGE_DATABASE_URL" in output


def test_complaints_about_citus_are_reported(doctor, database_url, monkeypatch):
    with database.connect(database_url) as connection:  # Citus' catalog, as far as these checks read it
        connection.execute("SET allow_system_table_mods = on")
        connection.execute(
            "INSERT INTO pg_extension SELECT 1, 'citus', extowner, extnamespace, false, '13.2', NULL, NULL "
            "FROM pg_extension LIMIT 1"
        )
        connection.execute("CREATE TABLE pg_dist_partition (logicalrel oid)")
        connection.execute("INSERT INTO pg_dist_partition SELECT unnest(%s::regclass[])", (list(citus.TABLES[1:]),))
        connection.commit()
    status, output = doctor(database_url)
    assert status == 1
    assert "FAIL  Citus: event: not distributed over the workers; run 'keygauge migrate --citus'" in output


def test_without_a_database_nothing_is_checked(monkeypatch):
    monkeypatch.delenv("KEYGAUGE_DATABASE_URL", raising=False)
    assert list(database_check.examine()) == []
