import pytest

from keygauge_keyservice.commands import project

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


def write(folder, name, text):
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@pytest.mark.parametrize("name", APPS)
def test_app_in_the_folder_is_found(tmp_path, name):
    file, text, start = APPS[name]
    write(tmp_path, file, text)
    found = project.find(tmp_path)
    assert found.framework.name == name
    assert found.start(tmp_path).startswith(start)
    compile(f"{found.framework.imported}\n{found.line}", "line", "exec")


def test_app_made_by_a_function_is_found_without_a_start_command(tmp_path):
    write(tmp_path, "app.py", "def create_app():\n    app = Flask(__name__)\n    return app\n")
    found = project.find(tmp_path)
    assert found.line == "app.wsgi_app = KeyGaugeMiddleware(app.wsgi_app)"
    assert "gunicorn" not in found.start(tmp_path)


def test_the_app_nearest_to_the_top_is_found(tmp_path):
    write(tmp_path, "mocks/api.py", "app = FastAPI()\n")
    write(tmp_path, "src/web.py", "app = Starlette()\n")
    assert project.find(tmp_path).framework.name == "Starlette"
    write(tmp_path, "app.py", "app = Flask(__name__)\n")
    assert project.find(tmp_path).framework.name == "Flask"


def test_modules_below_src_are_started_from_there(tmp_path):
    write(tmp_path, "src/shop/api.py", "app = FastAPI()\n")
    assert project.find(tmp_path).start(tmp_path) == "PYTHONPATH=src uvicorn shop.api:app --port 8000"
    write(tmp_path, "src/__init__.py", "")
    assert project.find(tmp_path).start(tmp_path) == "uvicorn src.shop.api:app --port 8000"


def test_a_file_that_is_no_module_has_no_start_command(tmp_path):
    write(tmp_path, "my site/asgi.py", "application = get_asgi_application()\n")
    assert project.find(tmp_path).start(tmp_path).startswith("#")


def test_installed_packages_and_tests_are_ignored(tmp_path):
    for folder in (".venv", "lib/site-packages", "tests", "scripts"):
        write(tmp_path, f"{folder}/app.py", "app = FastAPI()\n")
    write(tmp_path, "own/pyvenv.cfg", "")
    write(tmp_path, "own/app.py", "app = FastAPI()\n")
    assert project.find(tmp_path) is None
