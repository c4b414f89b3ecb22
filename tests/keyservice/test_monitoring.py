from datetime import UTC, datetime

import pytest
from prometheus_client.parser import text_string_to_metric_families

from keygauge.protocol import Acquisition
from keygauge_keyservice.accounts import accounts, plans
from keygauge_keyservice.app import create_app
from keygauge_keyservice.config import Settings
from keygauge_keyservice.keys import key_limits, keys
from keygauge_keyservice.limits import leases
from keygauge_keyservice.limits.leases import LeaseRequest
from keygauge_keyservice.monitoring import ROWS_MAX
from keygauge_keyservice.secret import Peppers

PEPPERS = Peppers.parse("1:" + "44" * 32)


@pytest.fixture
def samples(client, replica):
    def read(**headers):
        answer = client.get("/metrics", headers=replica | headers)
        assert answer.status_code == 200
        return [sample for family in text_string_to_metric_families(answer.text) for sample in family.samples]

    return read


def pick(samples, name, /, **labels):
    return [item.value for item in samples if item.name == name and labels.items() <= item.labels.items()]


@pytest.fixture
def account(connection):
    limits = [
        plans.Limit(name="rpm", unit="request", amount=60, window_s=3600),
        plans.Limit(name="daily", unit="request", amount=9, period="day", subject="key"),
        plans.Limit(name="parallel", unit="concurrent", amount=3),
    ]
    plans.create(connection, plan_id="free", name="Free", limits=limits, actor="test")
    return accounts.create(connection, name="Acme", plan_id="free", actor="test")


@pytest.fixture
def key(connection, account):
    return keys.create(
        connection,
        peppers=PEPPERS,
        account_id=account.id,
        name="prod",
        expires_at=datetime(2031, 1, 1, tzinfo=UTC),
        actor="test",
    )[0]


def test_key_metrics_have_labels_for_joins(samples, account, key, connection):
    labels = {"id": key.id, "name": "prod", "account": account.id, "account_name": "Acme", "plan": "free"}
    assert pick(samples(), "keygauge_key_info", status="active", **labels) == [1]
    assert pick(samples(), "keygauge_key_expiry_timestamp_seconds", id=key.id) == [1_924_992_000]
    assert pick(samples(), "keygauge_key_last_used_timestamp_seconds") == []
    accounts.set_status(connection, account.id, "suspended", actor="test")
    assert pick(samples(), "keygauge_key_info", status="suspended", **labels) == [1]
    keys.delete(connection, key.id, actor="test")
    assert pick(samples(), "keygauge_key_info") == []


def test_limit_metrics_show_the_current_state(samples, account, key, connection):
    assert pick(samples(), "keygauge_limit_used", limit="rpm") == [0]
    ids = {limit.name: limit.id for limit in plans.require(connection, "free").limits}
    acquisitions = [Acquisition(f"{ids['rpm']}:{account.id}", 20), Acquisition(f"{ids['daily']}:{key.id}", 4)]
    with connection.transaction():
        leases.exchange(connection, [LeaseRequest(service=None, replica="r", acquisitions=acquisitions)], alive=1)
    assert set(pick(samples(), "keygauge_limit_used")) == {0}  # units that replicas hold do not count as used
    connection.execute("UPDATE lease SET ends_at = clock_timestamp() - interval '1 second'")
    assert set(pick(samples(), "keygauge_limit_used")) == {0}  # nor do those that replicas are returning
    connection.execute("UPDATE lease SET spent = units")
    read = samples()
    assert pick(read, "keygauge_limit_used", limit="rpm", account=account.id, key="", unit="request") == [20]
    assert pick(read, "keygauge_limit_max", limit="rpm") == [60]
    assert pick(read, "keygauge_limit_used", limit="daily", account=account.id, key=key.id) == [4]
    (reset,) = pick(read, "keygauge_limit_reset_timestamp_seconds", limit="daily")
    assert 0 < reset - datetime.now(UTC).timestamp() <= 86_400
    connection.execute("UPDATE limit_state SET head = head - 100000, ends = '{1}'")
    assert set(pick(samples(), "keygauge_limit_used")) == {0}


def test_key_budget_is_exported(samples, account, key, connection):
    own = plans.Limit(name="own", unit="nanousd", amount=5 * 10**9, period="month", subject="key")
    (limit,) = key_limits.replace(connection, key.id, [own], actor="test")
    too_many = [Acquisition(f"{limit.id}:{key.id}", 10**9)]
    with connection.transaction():
        leases.exchange(connection, [LeaseRequest(service=None, replica="r", acquisitions=too_many)], alive=1)
    connection.execute("UPDATE lease SET spent = units / 4")
    labels = {"limit": "own", "account": account.id, "key": key.id, "unit": "nanousd", "period": "month"}
    assert pick(samples(), "keygauge_limit_used", **labels) == [10**9 // 4]
    assert pick(samples(), "keygauge_limit_max", **labels) == [5 * 10**9]


def test_requests_are_counted_by_route_and_never_by_path(samples, client, operator, replica):
    client.get("/v1/keys/abc", headers=operator)
    client.get("/v1/keys/def", headers=operator)
    client.get("/made/up")
    client.open("/healthz", method="BREW")
    read = samples()
    name = "keygauge_service_requests_total"
    labels = {"http_request_method": "GET", "http_response_status_code": "404"}
    assert pick(read, name, http_route="/v1/keys/<key_id>", **labels) == [2]
    assert pick(read, name, http_route="_unmatched", **labels) == [1]
    assert pick(read, name, http_request_method="_OTHER") == [1]
    assert pick(read, "keygauge_service_request_duration_seconds_count", http_route="/v1/keys/<key_id>") == [2]
    assert "keys/abc" not in client.get("/metrics", headers=replica).text


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Host": "127.0.0.1:8080"}, 401),  # what a proxy on this machine sends by default
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": "Bearer test-service-token-0123456789"}, 200),
        ({"Authorization": "Bearer test-admin-token-0123456789"}, 200),
    ],
)
def test_metrics_require_a_token(client, headers, status):
    answer = client.get("/metrics", headers=headers, environ_base={"REMOTE_ADDR": "127.0.0.1"})
    assert answer.status_code == status


def test_process_metrics_work_without_a_database():
    settings = Settings(
        database_url="postgresql://127.0.0.1:1/none", service_token="s" * 20, admin_token="a" * 20, peppers=PEPPERS
    )
    app = create_app(settings)
    app.extensions["keygauge"].page_pool.timeout = 0.2
    client = app.test_client()
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").status_code == 503
    answer = client.get("/metrics", headers={"Authorization": f"Bearer {'s' * 20}"})
    app.extensions["keygauge"].close()
    assert "keygauge_service_requests_total" in answer.text
    assert "keygauge_key_info" not in answer.text


def test_scrape_of_many_keys_stays_below_a_megabyte_and_has_those_used_last(client, operator, connection):
    connection.execute("INSERT INTO plan (id, name) VALUES ('many', 'many')")
    connection.execute(
        "INSERT INTO plan_limit (plan_id, name, subject, unit, amount, period) "
        "VALUES ('many', 'monthly', 'key', 'token', 1, 'month')"
    )
    connection.execute(
        "INSERT INTO account (id, name, plan_id) "
        "SELECT 'a' || n, repeat('n', 100), 'many' FROM generate_series(1, 2000) n"
    )
    connection.execute(
        "INSERT INTO key (id, account_id, name, environment, last_used_at) "
        "SELECT 'k' || n, 'a' || n, repeat('n', 100), 'live', timestamptz '2026-01-01' + n * interval '1 s' "
        "FROM generate_series(1, 2000) n"
    )
    connection.execute("UPDATE key SET created_at = now() - interval '1 year' WHERE id IN ('k1', 'k2000')")
    connection.execute(
        "INSERT INTO rollup_recent SELECT date_bin('15 min', now(), 'epoch'), 'a2000', 'k2000', '/', '', 2, 1, "
        "0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 1e228"
    )
    connection.execute(
        "INSERT INTO usage_aggregate SELECT * FROM usage_aggregate_of_rollups('-infinity', 'infinity', '{7200}')"
    )
    scrape = client.get("/metrics", headers=operator).text
    assert len(scrape) < 1_000_000
    assert '"k2000"' in scrape
    assert '"k1"' not in scrape


def test_scrape_of_many_keys_has_those_that_need_attention_and_new_ones(samples, account, connection):
    """Among more used keys than a scrape has, a key that is new, expires soon, or has used up its quota is kept."""
    connection.execute(
        "INSERT INTO key (id, account_id, name, created_at, last_used_at) "
        "SELECT 'used' || n, %s, 'used', now() - interval '1 year', now() - n * interval '1 s' "
        "FROM generate_series(1, %s) AS n",
        (account.id, 2 * ROWS_MAX),
    )
    connection.execute(
        "INSERT INTO rollup_recent SELECT date_bin('15 min', now(), 'epoch'), %s, 'used' || n, '/', '', 2, 1, "
        "0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 1e228 FROM generate_series(1, %s) AS n",
        (account.id, 2 * ROWS_MAX),
    )
    connection.execute(
        "INSERT INTO usage_aggregate SELECT * FROM usage_aggregate_of_rollups('-infinity', 'infinity', '{7200}')"
    )
    last, full = f"used{2 * ROWS_MAX}", f"used{2 * ROWS_MAX - 1}"
    connection.execute("UPDATE key SET expires_at = now() + interval '3 days' WHERE id = %s", (last,))
    (daily,) = (limit.id for limit in plans.require(connection, "free").limits if limit.name == "daily")
    connection.execute(
        "INSERT INTO limit_state (id, account_id, cells, ends) "
        "VALUES (%s, %s, '{8}', ARRAY[(extract(epoch FROM now()) * 1e6 + 1e9)::bigint])",
        (f"{daily}:{full}", account.id),
    )
    fresh, _ = keys.create(connection, peppers=PEPPERS, account_id=account.id, name="new", actor="test")
    read = samples()
    assert len(pick(read, "keygauge_key_info")) == ROWS_MAX
    for kept in (last, full, fresh.id, "used1"):
        assert pick(read, "keygauge_key_info", id=kept) == [1], kept
    assert pick(read, "keygauge_key_info", id=f"used{ROWS_MAX}") == []
    assert pick(read, "keygauge_limit_max", key=full) == [9]
