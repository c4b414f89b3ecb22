import stat

import pytest

from keygauge.cli import main
from keygauge_keyservice.accounts import accounts
from keygauge_keyservice.keys import keys


@pytest.fixture
def run(capsys, monkeypatch, database_url, tmp_path):
    monkeypatch.setenv("KEYGAUGE_DATABASE_URL", database_url)
    monkeypatch.setenv("KEYGAUGE_DATA_DIR", str(tmp_path / "data"))

    def run(*arguments, code=0):
        assert main(["init", *map(str, arguments)]) == code
        captured = capsys.readouterr()
        return captured.err if code else captured.out

    return run


def test_init_creates_an_account_a_key_and_an_environment_file(run, connection, tmp_path):
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "main.py").write_text("app = FastAPI()\n")
    output = run(folder)
    (account,) = accounts.list_accounts(connection)
    (key,) = keys.list_keys(connection, account.id)
    assert (account.name, account.plan_id, key.environment) == ("shop", "starter", "test")
    assert "app.add_middleware(KeyGaugeMiddleware)" in output
    assert f"in {folder}:\n\n    . ./keygauge.env\n    uvicorn main:app" in output
    assert f"keygauge usage --account {account.id}" in output
    file = folder / "keygauge.env"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    values = dict(line.removeprefix("export ").split("=", 1) for line in file.read_text().splitlines())
    assert values["KEYGAUGE_SERVICE_TOKEN"] == (tmp_path / "data/service_token").read_text()
    assert values["API_KEY"].startswith(f"kg_test_{key.id}_")
    assert values["API_KEY"] not in output
    assert (folder / "main.py").read_text() == "app = FastAPI()\n"


def test_the_account_has_the_folders_name_however_the_folder_is_given(run, connection, tmp_path, monkeypatch):
    (tmp_path / "shop/app").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "shop/app")
    output = run("..")
    (account,) = accounts.list_accounts(connection)
    assert account.name == "shop"
    assert f"in {tmp_path / 'shop'}:" in output


def test_second_run_keeps_the_file_and_the_account(run, connection, tmp_path):
    run(tmp_path, "--account", "Acme")
    assert "keygauge.env already exists" in run(tmp_path, "--account", "Acme", code=1)
    (tmp_path / "keygauge.env").unlink()
    run(tmp_path, "--account", "Acme")
    (account,) = accounts.list_accounts(connection)
    assert len(keys.list_keys(connection, account.id)) == 2


def test_an_account_is_not_chosen_among_several_of_its_name(run, connection, tmp_path):
    run(tmp_path, "--account", "Acme")
    accounts.create(connection, name="Acme", plan_id="starter", actor="test")
    connection.commit()
    (tmp_path / "keygauge.env").unlink()
    assert "more than one account is named 'Acme'" in run(tmp_path, "--account", "Acme", code=1)
    assert not (tmp_path / "keygauge.env").exists()


def test_nothing_is_created_if_the_file_cannot_be_written(run, connection, tmp_path):
    (tmp_path / "keygauge.env").symlink_to(tmp_path / "nowhere")
    assert "cannot be written" in run(tmp_path, code=1)
    assert accounts.list_accounts(connection) == []
