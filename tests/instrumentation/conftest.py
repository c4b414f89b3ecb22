"""Fixtures: a real key service on loopback, and small apps behind the middleware."""

import time
from functools import partial
from threading import Thread

import httpx
import pytest
from ports import free_port
from werkzeug.serving import make_server

from keygauge import asgi, wsgi
from keygauge_keyservice.accounts import accounts, plans
from keygauge_keyservice.keys import keys
from keygauge_keyservice.secret import Peppers
from keygauge_keyservice.sync import service_keys

PEPPERS = Peppers.parse("1:" + "11" * 32)  # same as in the app fixture
SERVICE_TOKEN = "test-service-token-0123456789"

RPM = {"name": "rpm", "unit": "request", "amount": 1000, "window_s": 60}
MONTHLY = {"name": "monthly_requests", "unit": "request", "amount": 100_000, "period": "month"}


def bind(port, app):
    """Return a server; retry while werkzeug exits because a process (such as a forked child) listens there."""
    deadline = time.monotonic() + 100
    while True:
        try:
            return make_server("127.0.0.1", port, app, threaded=True)
        except SystemExit:
            if time.monotonic() > deadline:
                raise OSError(f"port {port} is taken") from None
            time.sleep(0.05)


class Service:
    """The key service, and what its operator can do with it."""

    def __init__(self, app, connection, peppers):
        self.app = app
        self.connection = connection
        self.peppers = peppers
        self._server = None
        self.port = free_port()  # held while the service is down
        self.up()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def up(self):
        self._server = bind(self.port, self.app)
        Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def down(self):
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def events(self, count=None, timeout_s=100):
        """Return the ledger's events, oldest first; wait until there are `count`."""
        deadline = time.monotonic() + timeout_s
        while True:
            rows = self.connection.execute("SELECT * FROM event ORDER BY time, id").fetchall()
            if count is None or len(rows) >= count or time.monotonic() > deadline:
                return rows
            time.sleep(0.05)

    def plan(self, *limits):
        name = f"plan{time.monotonic_ns()}"
        plans.create(self.connection, plan_id=name, name=name, limits=[plans.Limit(**x) for x in limits], actor="test")
        return name

    def account(self, *limits):
        return accounts.create(self.connection, name="Acme", plan_id=self.plan(*limits), actor="test").id

    def key(self, *limits, account=None, **options):
        """Create a key; return its entry and token."""
        account = account or self.account(*(limits or (RPM, MONTHLY)))
        made, token = keys.create(
            self.connection, peppers=self.peppers, account_id=account, name="test key", actor="test", **options
        )
        return made, token

    def look_up(self, key):
        """Record a key as looked up by a process with the environment's service token."""
        service_keys.add(self.connection, "", [key.id])


@pytest.fixture
def service(app, connection):
    service = Service(app, connection, PEPPERS)
    yield service
    service.down()


@pytest.fixture
def guard(service, tmp_path):
    """Return a function that wraps an app in the middleware; its threads stop after the test."""
    made = []

    def build(app, *, make=asgi.KeyGaugeMiddleware, **options):
        options = {
            "service_url": service.url,
            "service_token": SERVICE_TOKEN,
            "spool_dir": tmp_path / "spool",
            "wait_s": 10.0,  # so that a slow test machine makes no difference
            **options,
        }
        made.append(make(app, **options))
        return made[-1]

    yield build
    for middleware in made:
        middleware._process.stop()


@pytest.fixture
def guard_wsgi(guard):
    """Return a function that wraps an app in the WSGI middleware."""
    return partial(guard, make=wsgi.KeyGaugeMiddleware)


@pytest.fixture
def visit_wsgi():
    """Return a function that calls a WSGI app in process: (app, token, path, …) -> httpx.Response."""

    def call(app, token=None, path="/hello", *, method="GET", headers=None, **options):
        sent = {"authorization": f"Bearer {token}"} if token else {}
        transport = httpx.WSGITransport(app, raise_app_exceptions=False, remote_addr="192.0.2.1")
        with httpx.Client(transport=transport, base_url="http://api") as client:
            return client.request(method, path, headers={**sent, **(headers or {})}, **options)

    return call


@pytest.fixture
def visit():
    """Return a function that calls an ASGI app in process: (app, token, path, …) -> httpx.Response."""

    async def call(app, token=None, path="/hello", *, method="GET", headers=None, **options):
        sent = [("authorization", f"Bearer {token}")] if token else []
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
            return await client.request(
                method,
                path,
                headers=[*sent, *(headers.items() if isinstance(headers, dict) else headers or ())],
                **options,
            )

    return call
