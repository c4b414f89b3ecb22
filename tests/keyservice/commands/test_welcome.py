import re

import pytest

from keygauge_keyservice.accounts import accounts, invitations, members, plans
from keygauge_keyservice.commands import welcome
from keygauge_keyservice.config import Settings


@pytest.fixture
def show_welcome(monkeypatch, database_url, tmp_path, capsys):
    monkeypatch.setenv("KEYGAUGE_DATABASE_URL", database_url)
    monkeypatch.setenv("KEYGAUGE_DATA_DIR", str(tmp_path))
    given = Settings.from_environment()
    monkeypatch.delenv("KEYGAUGE_DATABASE_URL")  # as with the embedded database

    def show_welcome(*, is_terminal, host="127.0.0.1", port=8080, **options):
        monkeypatch.setattr("sys.stderr.isatty", lambda: is_terminal, raising=False)
        welcome.show(given, host=host, port=port, **options)
        return capsys.readouterr().err

    return show_welcome


def test_terminal_gets_a_link_that_signs_in_once(show_welcome, connection):
    output = show_welcome(is_terminal=True)
    (token,) = re.findall(r"http://127\.0\.0\.1:8080/invitation/(\S+)", output)
    member = invitations.accept(connection, token, "a long enough passphrase 17")
    connection.commit()
    assert (member.account_id, member.role) == (None, "operator")
    assert "First sign-in" not in show_welcome(is_terminal=True)


def test_log_gets_no_link(show_welcome, connection):
    output = show_welcome(is_terminal=False)
    assert "invitation" not in output
    assert "keygauge members create" in output
    assert invitations.list_open(connection, None) == []


def test_no_link_with_an_external_database(show_welcome, monkeypatch):
    monkeypatch.setenv("KEYGAUGE_DATABASE_URL", "postgresql://elsewhere")
    assert "invitation" not in show_welcome(is_terminal=True)


@pytest.mark.parametrize(
    ("host", "shown"), [("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("fd00::1", "[fd00::1]"), ("kg.local", "kg.local")]
)
def test_portal_address_is_one_that_a_browser_can_open(show_welcome, host, shown):
    output = show_welcome(is_terminal=False, host=host)
    assert f"Portal:        http://{shown}:8080\n" in output
    assert "keygauge init" in output


@pytest.mark.parametrize(
    ("options", "command"),
    [
        ({}, "keygauge init <folder of your service>' in this folder"),
        ({"port": 9000}, "keygauge init <folder of your service> --service-url http://127.0.0.1:9000'"),
        (
            {"replica_address": ("10.0.0.5", 8081)},
            "keygauge init <folder of your service> --service-url http://10.0.0.5:8081'",
        ),
    ],
)
def test_next_step_names_where_this_key_service_listens(show_welcome, options, command):
    assert command in show_welcome(is_terminal=False, **options)


def test_only_the_address_is_shown_once_accounts_and_operators_exist(show_welcome, connection):
    plans.create(connection, plan_id="free", name="Free", limits=[], actor="test")
    accounts.create(connection, name="Acme", plan_id="free", actor="test")
    members.create(
        connection, account_id=None, email="a@b.c", password="a long enough passphrase 17", role="operator", actor="x"
    )
    connection.commit()
    assert show_welcome(is_terminal=True) == "Portal:        http://127.0.0.1:8080\n"
