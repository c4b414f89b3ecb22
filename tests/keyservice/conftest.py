import json
import os
import subprocess
import sys
import time
import urllib.request
from datetime import UTC, datetime, timedelta

import pytest
from ports import free_port

from keygauge_keyservice.ledger import backfill
from keygauge_keyservice.ledger.event import Event
from keygauge_keyservice.pricing.cost import Cost
from keygauge_keyservice.sync import service_keys

ACCOUNT_KEYS = {"acme": ("acme-live", "acme-test"), "beta": ("beta-live",)}
NOON = datetime(2026, 5, 20, 12, 0, tzinfo=UTC)


@pytest.fixture
def metered(connection):
    """Accounts and keys whose events the ledger accepts from a service that uses the environment's token."""
    connection.execute("INSERT INTO plan (id, name) VALUES ('ledger', 'Ledger')")
    for account, keys in ACCOUNT_KEYS.items():
        connection.execute("INSERT INTO account (id, name, plan_id) VALUES (%s, %s, 'ledger')", (account, account))
        for key in keys:
            connection.execute("INSERT INTO key (id, account_id, name) VALUES (%s, %s, %s)", (key, account, key))
        service_keys.add(connection, "", keys)
    return ACCOUNT_KEYS


@pytest.fixture
def used_months(connection, metered, make_event):
    """Accounts created in April on a plan of 20 US dollars a month; acme made four calls in April and May."""
    connection.execute("UPDATE account SET created_at = '2026-04-15T12:00:00Z'")
    connection.execute("UPDATE plan SET monthly_nanousd = 20000000000")
    connection.execute("DELETE FROM plan_price_before")
    events = [make_event(offset) for offset in (0, 1, -30 * 86_400, 11.5 * 86_400 - 1)]  # the last: 31 May
    backfill.write_history(connection, events, lambda _: Cost(1_500, "test"), spool="test")


@pytest.fixture
def noon():
    """The time of the tests' events."""
    return NOON


@pytest.fixture
def make_event():
    def make(offset_s=0.0, **fields):
        event = Event(
            time_us=round((NOON + timedelta(seconds=offset_s)).timestamp() * 1_000_000),
            account="acme",
            key="acme-live",
            route="/v1/chat/completions",
            method="POST",
            status=200,
            error=None,
            ip="192.0.2.1",
            duration_us=120_000,
            first_token_us=None,
            request_bytes=500,
            response_bytes=1500,
            stream=None,
            messages=0,
            model="gpt-4o-mini",
            provider="openai",
            input_tokens=100,
            output_tokens=200,
            cache_read_tokens=10,
            cache_write_tokens=0,
            reasoning_tokens=None,
            usage_status="reported",
            outcome="admitted",
            limit=None,
            trace_id="0af7651916cd43dd8448eb211c80319c",
            details=None,
        )
        return event._replace(**fields)

    return make


@pytest.fixture
def make_line(make_event):
    def make(offset_s=0.0, **fields):
        return json.dumps(make_event(offset_s, **fields), separators=(",", ":")).encode()

    return make


@pytest.fixture
def serve(empty_database_url, tmp_path):
    """`serve(*arguments)` starts `keygauge serve`, returns its process and URL, and kills it after the test."""
    started = []

    def serve(*arguments):
        port = free_port()
        process = subprocess.Popen(
            [sys.executable, "-m", "keygauge.cli", "serve", "--port", str(port), *arguments],
            env=os.environ | {"KEYGAUGE_DATABASE_URL": empty_database_url, "KEYGAUGE_DATA_DIR": str(tmp_path)},
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        url = f"http://127.0.0.1:{port}"
        for _ in range(1500):
            try:
                urllib.request.urlopen(f"{url}/readyz", timeout=100).close()
            except OSError:
                assert process.poll() is None, process.stderr.read()
                time.sleep(0.1)
            else:
                return process, url
        raise TimeoutError("the key service does not answer")

    yield serve
    for process in started:
        process.kill()
        process.wait()
        process.stderr.close()


@pytest.fixture
def idp(monkeypatch):
    """An OpenID Connect provider that signs everyone in as its `email`."""
    from openid import serving  # noqa: PLC0415 - imports libraries that few tests need

    monkeypatch.setenv("AUTHLIB_INSECURE_TRANSPORT", "1")  # loopback
    with serving() as idp:
        yield idp
