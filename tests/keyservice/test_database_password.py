"""The command runs once for connections opened together; tests/operate/test_any_postgresql.py signs in with it."""

import psycopg
import pytest

from keygauge_keyservice import database_password


@pytest.fixture
def command(tmp_path, monkeypatch):
    """A command that prints how often it ran."""
    script = tmp_path / "print"
    script.write_text(f"#!/bin/sh\nprintf x >>{tmp_path}/log\nwc -c <{tmp_path}/log\n")
    script.chmod(0o755)
    monkeypatch.setenv(database_password.VARIABLE, f"'{script}' --region eu")


def test_there_is_no_password_without_a_command(monkeypatch):
    monkeypatch.delenv(database_password.VARIABLE, raising=False)
    assert database_password.find() is None


@pytest.mark.usefixtures("command")
def test_a_password_is_used_for_a_minute(monkeypatch):
    assert [database_password.find(), database_password.find()] == ["1", "1"]
    monkeypatch.setattr(database_password, "_FRESH_S", 0.0)
    assert database_password.find() == "2"


@pytest.mark.usefixtures("command")
def test_a_refused_password_is_replaced_once():
    assert database_password.find() == "1"
    assert database_password.find(after="1") == "2"
    assert database_password.find(after="1") == "2"  # another connection was refused as well


@pytest.mark.usefixtures("command")
def test_the_command_does_not_run_for_every_connection_that_fails(monkeypatch):
    assert database_password.find() == "1"
    assert [database_password.find(after=number) for number in ("1", "2", "2")] == ["2", "2", "2"]
    monkeypatch.setattr(database_password, "_RENEWED_S", 0.0)
    assert database_password.find(after="2") == "3"


def test_a_failure_does_not_show_what_was_printed(monkeypatch):
    monkeypatch.setenv(database_password.VARIABLE, "sh -c 'echo secret; exit 3'")
    with pytest.raises(psycopg.OperationalError, match="failed with status 3") as raised:
        database_password.find()
    assert "secret" not in str(raised.value)
    assert raised.value.__cause__ is None
