"""The key service and a metered app on a PostgreSQL that the test may stop, restore and replace."""

import os
from dataclasses import replace
from datetime import UTC, datetime
from threading import Thread

import httpx
import pytest
from operate.clusters import Cluster, binaries
from werkzeug.serving import make_server

from keygauge import wsgi
from keygauge_keyservice import database
from keygauge_keyservice.accounts import accounts, plans
from keygauge_keyservice.app import create_app
from keygauge_keyservice.config import Settings
from keygauge_keyservice.keys import keys
from keygauge_keyservice.ledger import aside, ingest
from keygauge_keyservice.pricing import price_book
from keygauge_keyservice.secret import Peppers

PEPPERS = Peppers.parse("1:" + "11" * 32)
SERVICE_TOKEN = "test-service-token-0123456789"
ADMIN_TOKEN = "test-admin-token-012345"
RPM = plans.Limit(name="rpm", unit="request", amount=100_000, window_s=60)


@pytest.fixture(scope="session", autouse=True)
def _needs_postgresql():
    if binaries() is None:
        reason = "no PostgreSQL server of the distribution's: apt-get install postgresql"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)


@pytest.fixture
def cluster():
    cluster = Cluster()
    yield cluster.make()
    cluster.delete()


class Installation:
    """A key service and a metered app."""

    def __init__(self, url, spool_dir):
        self.url = url
        self._spool_dir = spool_dir
        self._server = self._metered = None
        self.port = 0
        self.up()

    def up(self):
        """Start the key service, at the same address as before."""
        self.app = create_app(_settings(self.url))
        self._server = make_server("127.0.0.1", self.port, self.app, threaded=True)
        self.port = self._server.port
        Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def down(self):
        """Stop the key service."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self.app.extensions["keygauge"].close()
            self._server = None

    def connect(self):
        connection = database.connect(self.url)
        connection.autocommit = True
        return connection

    def account(self):
        with self.connect() as connection:
            plans.create(connection, plan_id="plan", name="plan", limits=[RPM], actor="test")
            return accounts.create(connection, name="Acme", plan_id="plan", actor="test").id

    def key(self, account):
        with self.connect() as connection:
            made, token = keys.create(connection, peppers=PEPPERS, account_id=account, name="key", actor="test")
        return made.id, token

    def disable(self, key_id):
        with self.connect() as connection:
            keys.set_status(connection, key_id, "disabled", actor="test")

    def events(self):
        """Count the ledger's events; None while the database is unavailable."""
        with self.connect() as connection:
            return connection.execute("SELECT count(*) AS events FROM event").fetchone()["events"]

    def retake(self):
        """Run the key service's minutely job for events that were set aside."""
        with self.connect() as connection:
            if ids := aside.find_now_known(connection):
                book = price_book.load()
                book.refresh(connection)
                ingest.retake(connection, ids, book, now=datetime.now(UTC))

    def call(self, token):
        """Call the metered app and return the answer's status."""
        if self._metered is None:
            self._metered = wsgi.KeyGaugeMiddleware(
                _answer,
                service_url=f"http://127.0.0.1:{self.port}",
                service_token=SERVICE_TOKEN,
                spool_dir=self._spool_dir,
                wait_s=5.0,
            )
        with httpx.Client(transport=httpx.WSGITransport(self._metered), base_url="http://api") as client:
            return client.get("/hello", headers={"authorization": f"Bearer {token}"}).status_code

    def stop_metered(self):
        """Stop the metered process; a later call starts another."""
        if self._metered is not None:
            self._metered._process.stop()
            self._metered = None

    def end(self):
        self.stop_metered()
        self.down()


def _answer(environ, start_response):
    start_response("200 OK", [("content-type", "text/plain"), ("content-length", "2")])
    return [b"ok"]


@pytest.fixture
def install_read_only():
    """Create the app of a read-only key service: (url) -> app."""
    made = []

    def install(url):
        made.append(create_app(replace(_settings(url), read_only=True)))
        return made[-1]

    yield install
    for app in made:
        app.extensions["keygauge"].close()


def _settings(url):
    return Settings(database_url=url, service_token=SERVICE_TOKEN, admin_token=ADMIN_TOKEN, peppers=PEPPERS)


@pytest.fixture
def install(tmp_path):
    """Migrate a database and start everything that uses it: (url) -> Installation."""
    made = []

    def install(url):
        with database.connect(url) as connection:
            database.migrate(connection)
        made.append(Installation(url, tmp_path / "spool"))
        return made[-1]

    yield install
    for installation in made:
        installation.end()
