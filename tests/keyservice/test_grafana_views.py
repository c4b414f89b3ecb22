import uuid

import psycopg
import pytest
from psycopg import sql

from keygauge_keyservice import database

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
    assert len(views) == 9
    for view in views:
        grafana.execute(sql.SQL("SELECT * FROM grafana.{}").format(sql.Identifier(view)))


def test_role_reads_no_table(grafana):
    for table in ("account", "key", "key_secret", "member", "session", "audit", "event", "rollup"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            grafana.execute(sql.SQL("SELECT * FROM public.{}").format(sql.Identifier(table)))


def test_role_cannot_write_through_a_view(grafana):
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        grafana.execute("UPDATE grafana.account SET name = 'mine'")


@pytest.mark.xdist_group("role of the whole server")
def test_role_cannot_sign_in_and_has_bounds_when_it_can(connection):
    role = connection.execute("SELECT rolcanlogin, rolconfig FROM pg_roles WHERE rolname = %s", (ROLE,)).fetchone()
    assert not role["rolcanlogin"]
    assert {"statement_timeout=15s", "default_transaction_read_only=on"} <= set(role["rolconfig"])


def test_views_tell_no_hash_and_nobody(connection):
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
        "INSERT INTO limit_state (id, account_id, head, cells) SELECT id || ':acc', 'acc', CASE name WHEN 'old' THEN 1 "
        "ELSE extract(epoch FROM date_trunc('day', now(), 'UTC'))::bigint END, '{42}' FROM plan_limit"
    )
    rows = connection.execute("SELECT limit_name, key_id, amount, used, resets_at > now() AS ahead FROM grafana.quota")
    assert sorted((row["limit_name"], row["key_id"], row["amount"], row["used"], row["ahead"]) for row in rows) == [
        ("day", None, 100, 42, True),
        ("old", None, 100, 0, True),
    ]


def test_migration_works_for_a_user_who_may_not_create_roles(empty_database_url):
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
                assert len(_views(connection)) == 9
        finally:
            superuser.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(user)))
            superuser.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(user)))
