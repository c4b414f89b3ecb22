import uuid
from datetime import timedelta
from typing import get_args

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from keygauge_keyservice import database
from keygauge_keyservice.ledger import backfill, rollup
from keygauge_keyservice.limits.periods import Period, Periods
from keygauge_keyservice.pricing.public_prices import PublicPrices

ROLE = "keygauge_grafana"
FORBIDDEN = ("hash", "pepper", "email", "password", "actor", "created_by", "token_hash", "csrf")


@pytest.fixture
def grafana(connection):
    connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(ROLE)))
    return connection


def _views(connection):
    rows = connection.execute("SELECT table_name FROM information_schema.views WHERE table_schema = 'grafana'")
    return sorted(row["table_name"] for row in rows)


def test_role_reads_every_view(grafana):
    views = _views(grafana)
    assert len(views) == 11
    for view in views:
        grafana.execute(sql.SQL("SELECT * FROM grafana.{}").format(sql.Identifier(view)))


def test_role_reads_no_table(grafana):
    for table in ("account", "key", "key_secret", "member", "session", "audit", "event", "rollup"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            grafana.execute(sql.SQL("SELECT * FROM public.{}").format(sql.Identifier(table)))


def test_role_cannot_write_through_a_view(grafana):
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        grafana.execute("UPDATE grafana.account SET name = 'mine'")


def test_role_cannot_log_in_and_is_read_only_with_a_timeout(postgresql, connection):
    with psycopg.connect(postgresql.get_uri(), autocommit=True) as turns:
        turns.execute("SELECT pg_advisory_lock(1)")  # other workers' tests let it log in for a short time
        role = connection.execute("SELECT rolcanlogin, rolconfig FROM pg_roles WHERE rolname = %s", (ROLE,)).fetchone()
    assert not role["rolcanlogin"]
    assert {"statement_timeout=15s", "default_transaction_read_only=on"} <= set(role["rolconfig"])


def test_views_contain_no_secrets_or_personal_data(connection):
    rows = connection.execute("SELECT column_name FROM information_schema.columns WHERE table_schema = 'grafana'")
    for row in rows:
        assert not any(word in row["column_name"] for word in FORBIDDEN)


def test_quota_counts_the_current_period_only(connection):
    connection.execute("INSERT INTO plan (id, name) VALUES ('p', 'P')")
    connection.execute("INSERT INTO account (id, name, plan_id) VALUES ('acc', 'A', 'p')")
    for name, unit, period, window_s in (
        ("day", "token", "day", None),
        ("old", "request", "month", None),
        ("rpm", "request", None, 60),
    ):
        connection.execute(
            "INSERT INTO plan_limit (plan_id, name, unit, amount, period, window_s) VALUES ('p', %s, %s, 100, %s, %s)",
            (name, unit, period, window_s),
        )
    connection.execute(
        "INSERT INTO limit_state (id, account_id, cells, ends) SELECT id || ':acc', 'acc', '{42}', "
        "ARRAY[extract(epoch FROM now() + CASE name WHEN 'old' THEN '-1 s' ELSE interval '1 h' END)::bigint * 1000000] "
        "FROM plan_limit"
    )
    connection.execute(
        "INSERT INTO lease (state_id, replica, heartbeat, bucket, units, spent, ends_at) "
        "SELECT id, 'r1', 1, head, 10, 3, now() - seconds * interval '1 second' "
        "FROM limit_state, unnest('{-9,1,5}'::int[]) AS seconds"
    )
    rows = connection.execute("SELECT limit_name, key_id, amount, used, resets_at > now() AS ahead FROM grafana.quota")
    assert sorted((row["limit_name"], row["key_id"], row["amount"], row["used"], row["ahead"]) for row in rows) == [
        ("day", None, 100, 28, True),
        ("old", None, 100, 0, None),
    ]


@pytest.mark.parametrize("period", get_args(Period))
def test_quota_supports_every_period(connection, period):
    connection.execute("INSERT INTO plan (id, name) VALUES ('p', 'P')")
    connection.execute("INSERT INTO account (id, name, plan_id) VALUES ('acc', 'A', 'p')")
    connection.execute(
        "INSERT INTO plan_limit (plan_id, name, unit, amount, period) VALUES ('p', 'q', 'request', 100, %s)", (period,)
    )
    with connection.transaction():  # one time for all statements
        now_s = connection.execute("SELECT extract(epoch FROM now())::float8 AS now_s").fetchone()["now_s"]
        start_s, end_s = Periods(period).around(int(now_s))
        connection.execute(
            "INSERT INTO limit_state (id, account_id, head, cells, ends) "
            "SELECT id || ':acc', 'acc', %s, '{42}', %s FROM plan_limit",
            (start_s, [end_s * 1_000_000]),
        )
        found = connection.execute("SELECT used, resets_at FROM grafana.quota").fetchone()
    resets_at = found["resets_at"] and int(found["resets_at"].timestamp())
    assert (found["used"], resets_at) == (42, None if period == "lifetime" else end_s)


def test_migrations_work_for_a_user_who_cannot_create_roles(empty_database_url):
    user = f"plain_{uuid.uuid4().hex}"
    name = psycopg.conninfo.conninfo_to_dict(empty_database_url)["dbname"]
    with psycopg.connect(empty_database_url, autocommit=True) as superuser:
        superuser.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(user)))
        superuser.execute(sql.SQL("GRANT ALL ON SCHEMA public TO {}").format(sql.Identifier(user)))
        superuser.execute(sql.SQL("GRANT ALL ON DATABASE {} TO {}").format(sql.Identifier(name), sql.Identifier(user)))
        try:
            with database.connect(empty_database_url) as connection:
                connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(user)))
                assert database.migrate(connection) == database.migrations()
                assert len(_views(connection)) == 11
        finally:
            superuser.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(user)))
            superuser.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(user)))


ROLLUPS = """
INSERT INTO rollup_recent
SELECT '2030-01-01T00:00:00Z'::timestamptz + n * interval '15 minutes', 'a1', 'k' || n % 3, '/r' || n % 2,
    CASE n % 5 WHEN 0 THEN '' ELSE 'm' || n % 5 END, 2 + 3 * (n % 7 = 0)::integer, n, n % 4, n, 2 * n, n % 3, 0, 0,
    1, 1, 1000 * n, n, 1e12
FROM generate_series(0, 399) AS n
"""
RANGES = (
    ("2030-01-01T00:00:00Z", "2030-01-05T00:00:00Z"),
    ("2030-01-01T07:15:00Z", "2030-01-04T19:30:00Z"),
    ("2030-01-02T07:15:00Z", "2030-01-02T19:30:00Z"),
    ("2030-01-01T23:45:00Z", "2030-01-02T00:15:00Z"),
    ("2030-01-02T00:00:00Z", "2030-01-03T00:00:00Z"),
)


@pytest.mark.parametrize("bar", ["15m", "1d"])
@pytest.mark.parametrize("others", [None, ["/r0", "/r1", "m1", "m2", "m3", "m4", "no model"], ["/r1", "m2"]])
@pytest.mark.parametrize(("first", "last"), RANGES)
@pytest.mark.parametrize(("what", "narrowed"), [("model", "route"), ("route", "model")])
def test_usage_equals_the_sum_of_rollups_in_every_range(connection, what, narrowed, first, last, others, bar):
    connection.execute(ROLLUPS)
    connection.execute(
        "INSERT INTO usage_aggregate SELECT * "
        "FROM usage_aggregate_of_rollups('-infinity', 'infinity', '{900,7200,86400,604800}')"
    )
    columns = "sum(requests) AS a, sum(failed) AS b, sum(limited) AS c, sum(input_tokens) AS d, sum(cost_nanousd) AS e"
    found = connection.execute(
        f"SELECT key_id, name, {columns} FROM grafana.usage(%s, %s, %s, %s, %s) GROUP BY 1, 2 ORDER BY 1, 2",
        (what, first, last, bar, others),
    ).fetchall()
    expected = connection.execute(
        f"SELECT key_id, {what}, {columns.replace('failed', 'CASE status_class WHEN 5 THEN requests ELSE 0 END')} "
        f"FROM rollup WHERE bucket >= %s AND bucket < %s "
        f"AND (%s::text[] IS NULL OR coalesce(nullif({narrowed}, ''), 'no model') = ANY (%s)) "
        "GROUP BY 1, 2 ORDER BY 1, 2",
        (first, last, others, others),
    ).fetchall()
    assert [list(row.values()) for row in found] == [list(row.values()) for row in expected]
    assert bool(found) == bool(expected)


@given(counts=st.lists(st.lists(st.integers(0, 10**9), min_size=20, max_size=20), min_size=1, max_size=5))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_duration_counts_decode_and_add_up(connection, counts):
    numbers = [sum(count * 10 ** (12 * place) for place, count in enumerate(one)) for one in counts]
    row = connection.execute(
        "SELECT grafana.duration_counts(sum(number)) AS added FROM unnest(%s::numeric[]) AS number", (numbers,)
    ).fetchone()
    assert row["added"] == rollup.duration_counts(sum(numbers)) == [sum(column) for column in zip(*counts, strict=True)]


def test_latency_of_a_long_range_is_interpolated_within_buckets(connection, metered, make_event, noon):
    events = [make_event(second, duration_us=second * 10_000) for second in range(1, 101)]
    backfill.write_history(connection, events, PublicPrices(), spool="test")
    (row,) = connection.execute(
        "SELECT p50, p95 FROM grafana.latency(%s, %s, '1 d', '{acme}', '{acme-live}', %s, %s)",
        (noon - timedelta(days=1), noon + timedelta(days=1), [events[0].route], [events[0].model]),
    )
    assert (row["p50"], row["p95"]) == (0.5, 0.95)  # exact, because these calls are spread evenly within buckets
