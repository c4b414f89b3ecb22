"""The commands against a remote key service, with a token and without a database."""

import threading

import pytest
from ports import free_port
from werkzeug.serving import make_server

from keygauge.cli import main
from keygauge_keyservice.accounts import accounts, members, tokens
from keygauge_keyservice.journal import audit


@pytest.fixture
def url(app):
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def remote(url, settings, monkeypatch, capsys):
    monkeypatch.delenv("KEYGAUGE_DATABASE_URL", raising=False)
    monkeypatch.setenv("KEYGAUGE_URL", url)
    monkeypatch.setenv("KEYGAUGE_ADMIN_TOKEN", settings.admin_token)

    def remote(*words, code=0):
        assert main(words) == code
        captured = capsys.readouterr()
        return captured.err if code else captured.out

    return remote


def test_commands_work_on_a_remote_key_service(remote, connection):
    remote("plans", "create", "free", "--limit", "rpm=60:request:1m")
    remote("accounts", "create", "Acme", "--plan", "free")
    token = remote("keys", "create", "production", "--account", "Acme")
    (account,) = accounts.list_accounts(connection)
    assert token.startswith("kg_live_")
    assert "production" in remote("keys", "list", "--account", account.name)
    assert "requests" in remote("usage", "--account", "Acme").lower()
    assert audit.find_entries(connection, account.id)[0].actor == "operator"


def test_token_scope_is_enforced(remote, connection, monkeypatch):
    _, secret = tokens.create(connection, kind="admin", name="ci", scope="read", actor="test")
    monkeypatch.setenv("KEYGAUGE_ADMIN_TOKEN", secret)
    assert remote("plans", "list", "--quiet") == ""
    assert "scope is read" in remote("plans", "create", "free", code=1)


def test_connection_errors_are_explained(remote, url, monkeypatch):
    assert "rejected the token" in remote("plans", "list", "--token", "wrong", code=1)
    nobody = f"http://127.0.0.1:{free_port()}"
    assert "does not answer" in remote("plans", "list", "--url", nobody, code=1)
    assert "use a full one for --url" in remote("plans", "list", "--url", "keys.example.com", code=1)
    assert "nothing at this address" in remote("plans", "list", "--url", f"{url}/static", code=1)
    monkeypatch.delenv("KEYGAUGE_ADMIN_TOKEN")
    assert "KEYGAUGE_ADMIN_TOKEN" in remote("plans", "list", code=1)


@pytest.mark.parametrize("words", [("ledger", "aside"), ("prices", "rerate", "--from", "1d")])
def test_commands_on_the_database_say_that_a_url_is_not_enough(remote, monkeypatch, tmp_path, words):
    monkeypatch.setenv("KEYGAUGE_DATA_DIR", str(tmp_path))
    assert "which KEYGAUGE_URL does not give" in remote(*words, code=1)


def test_account_is_not_needed_with_its_own_token(remote, connection, monkeypatch):
    remote("plans", "create", "free")
    for name in ("Acme", "Globex"):
        remote("accounts", "create", name, "--plan", "free")
    assert "Use --account" in remote("members", "list", code=2)  # an operator's token reaches all accounts
    account = accounts.list_accounts(connection, name="Acme")[0]
    _, secret = tokens.create(
        connection, kind="account", name="ci", scope="manage", account_id=account.id, actor="test"
    )
    members.create(
        connection, account_id=account.id, email="a@acme.example", role="owner", password="a long password", actor="t"
    )
    monkeypatch.setenv("KEYGAUGE_TOKEN", secret)
    assert "a@acme.example" in remote("members", "list")
    assert remote("keys", "create", "production").startswith("kg_live_")
    assert "\tAcme\t" in remote("keys", "list")
    for words in (("calls", "list"), ("billing", "show"), ("notifications", "list"), ("members", "list", "--invited")):
        assert remote(*words) == remote(*words, "--account", "Acme")
    assert "no account 'Globex'" in remote("calls", "list", "--account", "Globex", code=1)
