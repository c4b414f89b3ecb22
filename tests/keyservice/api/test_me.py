"""A key reads its own limits and usage, and nothing about other keys."""

from datetime import UTC, datetime, timedelta

import pytest

from keygauge_keyservice.accounts import accounts, plans
from keygauge_keyservice.keys import key_limits, keys
from keygauge_keyservice.ledger import ingest
from keygauge_keyservice.limits.definitions import Limit
from keygauge_keyservice.pricing.public_prices import PublicPrices


@pytest.fixture
def owned(connection, settings):
    """A key and its token, with two limits of its own and a plan with four."""
    limits = [
        Limit(name="rpm", unit="request", amount=600, window_s=60),
        Limit(name="monthly", unit="request", amount=1000, period="month"),
        Limit(name="slots", unit="concurrent", amount=5),
        Limit(name="trial", unit="request", amount=5, period="lifetime"),
    ]
    plans.create(connection, plan_id="pro", name="Pro", limits=limits, actor="test")
    account = accounts.create(connection, name="Acme", plan_id="pro", actor="test")
    made = keys.create(
        connection, peppers=settings.peppers, account_id=account.id, name="shop", models=["gpt-4o"], actor="test"
    )
    own = [
        Limit(name="daily", unit="token", amount=5000, period="day", subject="key"),
        Limit(name="credits", unit="nanousd", amount=10**9, period="month", credit_nanousd=10**7, subject="key"),
    ]
    key_limits.replace(connection, made[0].id, own, actor="test")
    return made


def get_me(client, token, **query):
    return client.get("/v1/me", headers={"Authorization": f"Bearer {token}"}, query_string=query)


def test_key_reads_its_permissions_limits_and_usage(client, connection, owned, make_event):
    key, token = owned
    now_us = int(datetime.now(UTC).timestamp() * 1_000_000)
    ours = make_event()._replace(account=key.account_id, key=key.id, time_us=now_us)
    other = ours._replace(key="another-key1")
    connection.execute("INSERT INTO key (id, account_id, name) VALUES ('another-key1', %s, 'x')", (key.account_id,))
    ingest.take_events(connection, "ab" * 16, 0, [ours, other], PublicPrices())
    answer = get_me(client, token, to=(datetime.now(UTC) + timedelta(minutes=15)).isoformat()).json
    assert (answer["key"]["id"], answer["key"]["models"], answer["plan"]["name"]) == (key.id, ["gpt-4o"], "Pro")
    assert (answer["usage"]["requests"], answer["usage"]["input_tokens"]) == (1, 100)
    limits = {limit["name"]: limit for limit in answer["limits"]}
    assert set(limits) == {"rpm", "monthly", "slots", "daily", "credits", "trial"}
    assert (limits["credits"]["credit_nanousd"], limits["daily"]["credit_nanousd"]) == (10**7, None)
    assert (limits["rpm"]["used"], limits["rpm"]["remaining"]) == (2, 598)
    assert (limits["monthly"]["remaining"], limits["monthly"]["resets_at"][8:10]) == (998, "01")
    assert (limits["trial"]["remaining"], limits["trial"]["resets_at"]) == (3, None)
    assert (limits["slots"]["used"], limits["daily"]["subject"]) == (0, "key")
    assert (limits["slots"]["dry_run"], limits["slots"]["model"]) == (False, None)
    assert "another-key1" not in str(answer)


@pytest.mark.parametrize("query", [{"from": "x"}, {"from": "2026-02-01T00:00:00Z", "to": "2026-01-01T00:00:00Z"}])
def test_invalid_range_is_rejected(client, owned, query):
    assert get_me(client, owned[1], **query).status_code == 422
