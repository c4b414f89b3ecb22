"""A real key service and the real demo API, each in its own process, on a database and free ports."""

import time
import urllib.request
import uuid
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anthropic
import openai
import psycopg
from ports import free_port
from prometheus_client.parser import text_string_to_metric_families

from keygauge_demo.stack.process import Process
from keygauge_keyservice import database
from keygauge_keyservice.accounts import accounts, plans
from keygauge_keyservice.keys import keys
from keygauge_keyservice.secret import Peppers

SERVICE_TOKEN = "e2e-service-token-0123456789"
ADMIN_TOKEN = "e2e-admin-token-0123456789"
PEPPER = "1:" + "22" * 32
READY_S = 150  # generous, as the machine may be busy; waiting ends as soon as the condition is met


def look_until(look, expected, *, timeout_s=100.0):
    """Call `look` until it returns the expected value, and assert it."""
    deadline = time.monotonic() + timeout_s
    while (seen := look()) != expected and time.monotonic() < deadline:
        time.sleep(0.05)
    assert seen == expected, f"{seen!r} and not {expected!r}"


@dataclass
class Stack:
    """The two processes, with helpers for tests."""

    database_url: str = field(repr=False)
    directory: Path
    port_service: int = field(default_factory=free_port)
    port_api: int = field(default_factory=free_port)
    service: Process | None = None
    api: Process | None = None
    clients: list = field(default_factory=list)

    admin_token = ADMIN_TOKEN
    service_token = SERVICE_TOKEN
    pepper = PEPPER

    @property
    def service_url(self):
        return f"http://127.0.0.1:{self.port_service}"

    @property
    def api_url(self):
        return f"http://127.0.0.1:{self.port_api}"

    def start_service(self, **settings):
        environ = {
            "KEYGAUGE_DATABASE_URL": self.database_url,
            "KEYGAUGE_DATA_DIR": str(self.directory / "service"),
            "KEYGAUGE_SERVICE_TOKEN": SERVICE_TOKEN,
            "KEYGAUGE_ADMIN_TOKEN": ADMIN_TOKEN,
            "KEYGAUGE_PEPPER": PEPPER,
            **settings,
        }
        command = ("-m", "keygauge.cli", "serve", "--port", str(self.port_service))
        self.service = Process("key service", command, log=self.directory / "service.log", environ=environ)
        self.service.wait_until_ready(f"{self.service_url}/readyz", timeout_s=READY_S)

    def start_api(self, **telemetry):
        """Start the API; its metrics are pulled by Prometheus unless `telemetry` overrides it."""
        environ = {
            "KEYGAUGE_SERVICE_URL": self.service_url,
            "KEYGAUGE_SERVICE_TOKEN": SERVICE_TOKEN,
            "KEYGAUGE_SPOOL_DIR": str(self.directory / "spool"),
            **(telemetry or {"KEYGAUGE_PROMETHEUS": "1"}),
            "KEYGAUGE_WAIT_S": "10",  # the machine is busy
        }
        command = ("-m", "uvicorn", "--factory", "keygauge_demo.service:create_service", "--port", str(self.port_api))
        self.api = Process("demo API", command, log=self.directory / "api.log", environ=environ)
        self.api.wait_until_ready(f"{self.api_url}/healthz", timeout_s=READY_S)

    def stop(self):
        for client in self.clients:
            client.close()
        for process in (self.api, self.service):
            if process is not None:
                process.stop()

    def create_key(self, *limits, **terms):
        """Create a plan with the limits, an account on it and a key; return the key and its token."""
        name = f"plan-{uuid.uuid4().hex[:8]}"
        with database.connect(self.database_url) as connection:
            plans.create(connection, plan_id=name, name=name, limits=limits, actor="test")
            account = accounts.create(connection, name=name, plan_id=name, actor="test")
            return keys.create(
                connection, peppers=Peppers.parse(PEPPER), account_id=account.id, name="e2e", actor="test", **terms
            )

    def set_status(self, key_id, status):
        with database.connect(self.database_url) as connection:
            keys.set_status(connection, key_id, status, actor="test")

    def openai(self, token, **options):
        options = {"max_retries": 0, **options}
        self.clients.append(openai.OpenAI(api_key=token, base_url=f"{self.api_url}/v1", **options))
        return self.clients[-1]

    def anthropic(self, token, **options):
        options = {"max_retries": 0, **options}
        self.clients.append(anthropic.Anthropic(api_key=token, base_url=self.api_url, **options))
        return self.clients[-1]

    def query(self, statement, *parameters):
        """Return the rows of a database query."""
        with psycopg.connect(self.database_url) as connection:
            return connection.execute(statement, parameters).fetchall()

    def ledger(self, key_id, columns="status, outcome"):
        """Return a key's events ordered by time."""
        with psycopg.connect(self.database_url) as connection:
            return connection.execute(
                f"SELECT {columns} FROM event WHERE key_id = %s ORDER BY time", (key_id,)
            ).fetchall()

    def metric(self, name, **labels):
        """Return the sum of the API's samples with this name and these labels."""
        with urllib.request.urlopen(f"{self.api_url}/metrics", timeout=60) as answer:
            families = list(text_string_to_metric_families(answer.read().decode()))
        samples = [sample for family in families for sample in family.samples if sample.name == name]
        return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())


@contextmanager
def fresh_database(postgresql, template):
    """Create a migrated database for longer than one test, and yield its URL."""
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(postgresql.get_uri(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
    yield postgresql.get_uri(database=name)
    with psycopg.connect(postgresql.get_uri(), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
