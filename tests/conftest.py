"""Fixtures: one embedded PostgreSQL for the whole run, and a migrated database without rows per test that needs one."""

import gc
import logging
import os
import shutil
import tempfile
import uuid
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from argon2 import PasswordHasher
from databases import Databases
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from jinja2 import FileSystemBytecodeCache
from playwright.sync_api import expect, sync_playwright
from werkzeug.routing import Rule

from keygauge_keyservice import database, embedded
from keygauge_keyservice.accounts import passwords
from keygauge_keyservice.app import create_app
from keygauge_keyservice.config import Settings
from keygauge_keyservice.secret import Peppers

# Example run time depends on the machine, so no deadline.
hypothesis_settings.register_profile("long", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.register_profile("short", hypothesis_settings.get_profile("long"), max_examples=25)
hypothesis_settings.load_profile("short")

# Hashing is slow on purpose, which matters only to the test of its parameters.
_SLOW_HASHER = passwords._hasher
passwords._hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


def _compile_once(compile_builder):
    builders = {}

    def compile_or_find(rule, append_unknown):
        source = (*rule._trace, repr(rule.defaults), append_unknown)
        if source not in builders:
            builders[source] = compile_builder(rule, append_unknown)
        return builders[source]

    return compile_or_find


# Compiling the URL builders of routes takes most of the time to create an app, which nearly every second test does.
Rule._compile_builder = _compile_once(Rule._compile_builder)

TESTS = Path(__file__).parent

# The longest tests start first, so that none runs alone at the end.
LONGEST_FIRST = (
    "e2e/test_dist.py",
    "keyservice/portal/test_hostile_input.py",
    "e2e/test_limits_model.py",
    "e2e/test_remote.py",
    "e2e",
    "operate",
    "docs",
    "demo",
    "keyservice/api/test_document.py",
    "keyservice/api/document",
    "keyservice/portal/test_portal_browser.py",
    "keyservice/commands/test_serve.py",
    "dashboards",
)

ADMIN_TOKEN = "test-admin-token-0123456789"
SERVICE_TOKEN = "test-service-token-0123456789"
PEPPERS = Peppers.parse("1:" + "11" * 32)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    """Keep temporary files in a directory of this run's own.

    The next run of the same user makes the usual one unreadable for others, such as the user that PostgreSQL runs as.
    """
    if config.option.basetemp is None and not hasattr(config, "workerinput"):
        config.option.basetemp = tempfile.mkdtemp(prefix="keygauge-tests-")
        config.add_cleanup(lambda: shutil.rmtree(config.option.basetemp, ignore_errors=True))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """Return two workers per core, up to eight: tests wait half of the time for processes that they started."""
    cores = os.cpu_count() or 1
    return max(cores, min(2 * cores, 8))


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Exclude collected tests from garbage collection, as they live until the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.hookimpl(tryfirst=True)  # before xdist adds group names
def pytest_collection_modifyitems(config, items):
    """Leave out long forms, start with long tests, and group tests that share a module-scoped fixture on one worker."""
    if hypothesis_settings.get_current_profile_name() != "long" and config.args == config.getini("testpaths"):
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("long")])
        items[:] = [item for item in items if not item.get_closest_marker("long")]
    items.sort(key=_rank)
    for item in items:
        definitions = item._fixtureinfo.name2fixturedefs.values() if hasattr(item, "_fixtureinfo") else ()
        if any(definition[-1].scope == "module" for definition in definitions):
            item.add_marker(pytest.mark.xdist_group(str(item.path.relative_to(TESTS))))


def _rank(item):
    path = str(item.path.relative_to(TESTS))
    return next((place for place, start in enumerate(LONGEST_FIRST) if path.startswith(start)), len(LONGEST_FIRST))


@pytest.fixture(autouse=True)
def _log_handlers():
    """Check that no test leaves a log handler behind: its stream closes with the test."""
    before = logging.getLogger().handlers.copy()
    yield
    after = logging.getLogger().handlers
    left = [handler for handler in after if handler not in before and "_pytest" not in type(handler).__module__]
    for handler in left:
        logging.getLogger().removeHandler(handler)
    assert not left


class GivenServer:
    """A server that is already running."""

    def __init__(self, url):
        self._url = urlsplit(url)

    def get_uri(self, database="postgres"):
        return self._url._replace(path=f"/{database}").geturl()


@pytest.fixture(scope="session")
def postgresql():
    """Return the server, shared by all workers of a run: the last worker stops it and deletes its directory.

    KEYGAUGE_TEST_DATABASE_URL selects another server; its user must be a superuser.
    """
    if url := os.environ.get("KEYGAUGE_TEST_DATABASE_URL"):
        yield GivenServer(url)
        return
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", uuid.uuid4().hex)
    server = embedded.start(Path(tempfile.gettempdir()) / f"keygauge-test-{run}", delete=True)
    # Commits survive a kill of PostgreSQL, the worst that tests do to it; only a power failure needs fsync. Without it,
    # databases are created and dropped several times faster.
    _administer(server, "ALTER SYSTEM SET fsync = off")
    _administer(server, "SELECT pg_reload_conf()")
    yield server
    server.cleanup()


@pytest.fixture(scope="session")
def _template(postgresql):
    """Return a migrated database to copy; nothing connects to it, so that it can be copied at any time."""
    name = f"template_{uuid.uuid4().hex}"
    _administer(postgresql, f"CREATE DATABASE {name}")
    with database.connect(postgresql.get_uri(database=name)) as connection:
        database.migrate(connection)
    return name


@pytest.fixture
def empty_database_url(postgresql):
    name = f"test_{uuid.uuid4().hex}"
    _administer(postgresql, f"CREATE DATABASE {name}")
    yield postgresql.get_uri(database=name)
    _administer(postgresql, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def _databases(postgresql, _template):
    databases = Databases(postgresql, _template)
    yield databases
    databases.close()


@pytest.fixture
def database_url(_databases):
    """Return the URL of a migrated database without rows, with a unique name."""
    yield _databases.take()
    _databases.give_back()


@pytest.fixture
def connection(database_url):
    """Return a connection in autocommit mode, so that apps and other connections see what a test wrote."""
    with database.connect(database_url) as connection:
        connection.autocommit = True
        yield connection


@pytest.fixture
def settings(database_url):
    return Settings(database_url=database_url, service_token=SERVICE_TOKEN, admin_token=ADMIN_TOKEN, peppers=PEPPERS)


@pytest.fixture(scope="session")
def _compiled_templates(tmp_path_factory):
    return FileSystemBytecodeCache(str(tmp_path_factory.mktemp("templates")))


@pytest.fixture
def app(settings, monkeypatch, _compiled_templates):
    monkeypatch.setattr(database, "_WAIT_S", 6)  # a busy machine may connect slowly
    app = create_app(settings)
    app.testing = True
    app.jinja_env.bytecode_cache = _compiled_templates
    yield app
    app.extensions["keygauge"].close()


@pytest.fixture
def slow_password_hasher():
    """Return the password hasher that the key service uses outside tests."""
    return _SLOW_HASHER


@pytest.fixture
def client(app):
    return app.test_client()


@pytest.fixture
def operator():
    """Return the headers of an operator's request."""
    return {"Authorization": f"Bearer {ADMIN_TOKEN}"}


@pytest.fixture
def replica():
    """Return the headers of a metered service's request."""
    return {"Authorization": f"Bearer {SERVICE_TOKEN}"}


@pytest.fixture(scope="module")
def chromium():
    """Return a browser for the tests of one file; without it they are skipped, and fail in CI."""
    if (program := shutil.which("chromium")) is None:
        reason = "chromium is not installed: apt-get install chromium"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    with sync_playwright() as playwright:
        expect.set_options(timeout=100_000)
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


def _administer(postgresql, statement):
    with psycopg.connect(postgresql.get_uri(), autocommit=True) as connection:
        connection.execute(statement)
