import stat

import pytest

from keygauge.cli import main
from keygauge_keyservice.accounts import accounts
from keygauge_keyservice.commands import project
from keygauge_keyservice.keys import keys

APPS = {
    "FastAPI": ("main.py", "from fastapi import FastAPI\n\napp = FastAPI(title='Shop')\n", "uvicorn main:app"),
    "Starlette": ("web/site.py", "api: Starlette = Starlette(routes=[])\n", "uvicorn web.site:api"),
    "Flask": ("shop/__init__.py", "import flask\nshop = flask.Flask(__name__)\n", "gunicorn shop:shop"),
    "Django (WSGI)": ("mysite/wsgi.py", "application = get_wsgi_application()\n", "gunicorn mysite.wsgi:application"),
    "Django (ASGI)": ("mysite/asgi.py", "application = get_asgi_application()\n", "uvicorn mysite.asgi:application"),
    "Litestar": ("app.py", "app = Litestar([index])\n", "uvicorn app:app"),
    "Quart": ("app.py", "app = Quart(__name__)\n", "uvicorn app:app"),
    "Falcon": ("app.py", "app = falcon.App()\n", "gunicorn app:app"),
    "Falcon (ASGI)": ("app.py", "app = falcon.asgi.App()\n", "uvicorn app:app"),
}


@pytest.fixture
def run(capsys, monkeypatch, database_url, tmp_path):
    monkeypatch.setenv("KEYGAUGE_DATABASE_URL", database_url)
    monkeypatch.setenv("KEYGAUGE_DATA_DIR", str(tmp_path / "data"))

    def run(*arguments, code=0):
        assert main(["init", *map(str, arguments)]) == code
        captured = capsys.readouterr()
        return captured.err if code else captured.out

    return run


def write(folder, name, text):
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@pytest.mark.parametrize("name", APPS)
def test_the_app_in_the_folder_is_found(tmp_path, name):
    file, text, start = APPS[name]
    write(tmp_path, file, text)
    found = project.find(tmp_path)
    assert found.framework.name == name
    assert found.start(tmp_path).startswith(start)
    compile(f"{found.framework.imported}\n{found.line}", "line", "exec")


def test_an_app_that_a_function_makes_is_found_without_a_command(tmp_path):
    write(tmp_path, "app.py", "def create_app():\n    app = Flask(__name__)\n    return app\n")
    found = project.find(tmp_path)
    assert found.line == "app.wsgi_app = KeyGaugeMiddleware(app.wsgi_app)"
    assert "gunicorn" not in found.start(tmp_path)


def test_what_is_installed_or_hidden_is_no_project(tmp_path):
    for folder in (".venv", "lib/site-packages", "tests"):
        write(tmp_path, f"{folder}/app.py", "app = FastAPI()\n")
    write(tmp_path, "own/pyvenv.cfg", "")
    write(tmp_path, "own/app.py", "app = FastAPI()\n")
    assert project.find(tmp_path) is None


def test_a_starting_point_is_written(run, connection, tmp_path):
    folder = tmp_path / "shop"
    write(folder, "main.py", "app = FastAPI()\n")
    told = run(folder)
    (account,) = accounts.list_accounts(connection)
    (key,) = keys.list_keys(connection, account.id)
    assert (account.name, account.plan_id, key.environment) == ("shop", "starter", "test")
    assert "app.add_middleware(KeyGaugeMiddleware)" in told
    file = folder / "keygauge.env"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    values = dict(line.removeprefix("export ").split("=", 1) for line in file.read_text().splitlines())
    assert values["KEYGAUGE_SERVICE_TOKEN"] == (tmp_path / "data/service_token").read_text()
    assert values["API_KEY"].startswith(f"kg_test_{key.id}_")
    assert values["API_KEY"] not in told
    assert (folder / "main.py").read_text() == "app = FastAPI()\n"


def test_a_second_time_nothing_is_made_anew(run, connection, tmp_path):
    run(tmp_path, "--account", "Acme")
    assert "keygauge.env already exists" in run(tmp_path, "--account", "Acme", code=1)
    (tmp_path / "keygauge.env").unlink()
    run(tmp_path, "--account", "Acme")
    (account,) = accounts.list_accounts(connection)
    assert len(keys.list_keys(connection, account.id)) == 2


def test_a_file_that_cannot_be_written_leaves_nothing(run, connection, tmp_path):
    (tmp_path / "keygauge.env").symlink_to(tmp_path / "nowhere")
    assert "cannot be written" in run(tmp_path, code=1)
    assert accounts.list_accounts(connection) == []
