import pytest
from ports import free_port

from keygauge.cli import main
from keygauge_keyservice.accounts import accounts, plans
from keygauge_keyservice.keys import keys, pepper_check
from keygauge_keyservice.secret import PepperError, Peppers

FIRST, OTHER = "1:" + "aa" * 32, "1:" + "bb" * 32
BOTH = f"{FIRST},2:{'cc' * 32}"


def test_known_and_new_peppers_pass(connection):
    for text in (FIRST, FIRST, BOTH, FIRST):
        pepper_check.check(connection, Peppers.parse(text))


def test_a_changed_pepper_is_rejected(connection):
    pepper_check.check(connection, Peppers.parse(FIRST))
    with pytest.raises(PepperError, match="pepper 1 is not the one"):
        pepper_check.check(connection, Peppers.parse(OTHER))


def test_a_missing_pepper_that_keys_use_is_reported(connection):
    plans.create(connection, plan_id="free", name="Free", limits=[], actor="test")
    account = accounts.create(connection, name="Acme", plan_id="free", actor="test")
    keys.create(connection, peppers=Peppers.parse(BOTH), account_id=account.id, name="live", actor="ada")
    with pytest.raises(PepperError, match="pepper 2, which is missing"):
        pepper_check.check(connection, Peppers.parse(FIRST))


def test_service_and_commands_do_not_start_with_a_changed_pepper(
    connection, database_url, monkeypatch, tmp_path, capsys
):
    pepper_check.check(connection, Peppers.parse(FIRST))
    plans.create(connection, plan_id="free", name="Free", limits=[], actor="test")
    account = accounts.create(connection, name="Acme", plan_id="free", actor="test")
    monkeypatch.setenv("KEYGAUGE_DATABASE_URL", database_url)
    monkeypatch.setenv("KEYGAUGE_DATA_DIR", str(tmp_path))  # a new folder gets a new pepper
    for command in (["keys", "create", "x", "--account", account.id], ["serve", "--port", str(free_port())]):
        assert main(command) == 1
        error = capsys.readouterr().err
        assert "pepper 1 is not the one" in error


def test_a_service_with_a_changed_pepper_is_not_ready(client, connection):
    connection.execute("INSERT INTO pepper (version, fingerprint) VALUES (1, 'another')")
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json["code"]) == (503, "wrong_pepper")
