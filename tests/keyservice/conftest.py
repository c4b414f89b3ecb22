import json
from datetime import UTC, datetime, timedelta

import pytest

from keygauge_keyservice.ledger.event import Event

ACCOUNT_KEYS = {"acme": ("acme-live", "acme-test"), "beta": ("beta-live",)}
NOON = datetime(2026, 5, 20, 12, 0, tzinfo=UTC)


@pytest.fixture
def metered(connection):
    """The accounts and keys whose events the ledger takes."""
    connection.execute("INSERT INTO plan (id, name) VALUES ('ledger', 'Ledger')")
    for account, keys in ACCOUNT_KEYS.items():
        connection.execute("INSERT INTO account (id, name, plan_id) VALUES (%s, %s, 'ledger')", (account, account))
        for key in keys:
            connection.execute("INSERT INTO key (id, account_id, name) VALUES (%s, %s, %s)", (key, account, key))
    return ACCOUNT_KEYS


@pytest.fixture
def noon():
    """A moment at which the tests' events happen; `take_batch` gets it as `now`."""
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
        )
        return event._replace(**fields)

    return make


@pytest.fixture
def make_line(make_event):
    def make(offset_s=0.0, **fields):
        return json.dumps(make_event(offset_s, **fields), separators=(",", ":")).encode()

    return make
