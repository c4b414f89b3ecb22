import pytest
from psycopg import errors

from keygauge.command_line.command import CommandError
from keygauge_keyservice.commands.connection.session import command_errors


@pytest.mark.parametrize(
    "command",
    [
        ("plans", "list"),
        ("keys", "create", "a", "--account", "b"),
        ("init",),
        ("members", "create", "a@b.example", "--account", "b", "--generate"),
        ("keys", "import", "keys.txt", "--account", "b"),
    ],
)
def test_command_in_another_folder_creates_no_second_database(run, monkeypatch, tmp_path, command):
    monkeypatch.delenv("KEYGAUGE_DATABASE_URL")
    monkeypatch.delenv("KEYGAUGE_DATA_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "keys.txt").write_text("a-key-of-another-system\n")
    assert "run this in the folder where 'keygauge serve' runs" in run(*command, code=1)
    assert [path.name for path in tmp_path.iterdir()] == ["keys.txt"]


def test_error_for_a_database_without_tables_names_the_command_to_run(run, monkeypatch, empty_database_url):
    monkeypatch.setenv("KEYGAUGE_DATABASE_URL", empty_database_url)
    assert "keygauge migrate" in run("plans", "list", code=1)
    assert "0001_accounts.sql" in run("migrate")
    assert "nothing to do" in run("migrate")


def test_error_for_an_unreachable_database_has_no_password(run, monkeypatch):
    monkeypatch.setenv("KEYGAUGE_DATABASE_URL", "postgresql://user:hush@127.0.0.1:1/none")
    complaint = run("plans", "list", code=1)
    assert "KEYGAUGE_DATABASE_URL" in complaint
    assert "hush" not in complaint


@pytest.mark.parametrize(
    ("kind", "way_out"),
    [
        (errors.DuplicatePreparedStatement, "KEYGAUGE_DATABASE_PREPARE=0"),
        (errors.InvalidSqlStatementName, "KEYGAUGE_DATABASE_PREPARE=0"),
        (errors.InsufficientPrivilege, "keygauge migrate --show-roles"),
        (errors.TooManyConnections, "KEYGAUGE_DATABASE_URL"),
    ],
)
def test_errors_of_the_database_say_what_to_do(kind, way_out):
    with pytest.raises(CommandError, match=way_out), command_errors():
        raise kind("not now")
