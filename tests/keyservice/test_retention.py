"""Retention: after a year on a virtual clock, each table has only the rows within its retention period."""

from datetime import UTC, datetime, timedelta

import pytest
from psycopg import sql

from keygauge_keyservice import database, retention
from keygauge_keyservice.ledger import partition

START = datetime(2026, 1, 1, tzinfo=UTC)
VALUES = {
    "spool": "INSERT INTO spool (id, next, updated_at) SELECT 's' || %(day)s, 1, %(at)s",
    "spool_hour": "INSERT INTO spool_hour (spool_id, hour) SELECT 's', %(at)s",
    "key_address": "INSERT INTO key_address (key_id, account_id, ip, first_at, last_at) "
    "SELECT id, account_id, '192.0.2.' || %(day)s, %(at)s, %(at)s FROM key LIMIT 1",
    "lease": "INSERT INTO lease (state_id, replica, heartbeat, bucket, units, ends_at) "
    "SELECT 'x', 'r', 1, 0, 1, %(at)s",
    "replica": "INSERT INTO replica SELECT 'r' || %(day)s, 's', 'h', 'v', 'enforce', %(at)s, %(at)s",
    "idempotency": "INSERT INTO idempotency SELECT %(day)s::text::bytea, '', NULL, NULL, %(at)s",
    "session": "INSERT INTO session (hash, member_id, csrf_token, ends_at) "
    "SELECT %(day)s::text::bytea, id, '', %(at)s FROM member LIMIT 1",
    "token": "INSERT INTO token (id, kind, name, hash, created_by, expires_at, revoked_at) "
    "SELECT %(day)s, 'admin', '', %(day)s::text::bytea, '', %(at)s, %(at)s - interval '300 days'",
    "invitation": "INSERT INTO invitation (hash, email, role, created_by, ends_at) "
    "SELECT %(day)s::text::bytea, '', 'operator', '', %(at)s",
    "dismissed_alert": "INSERT INTO dismissed_alert SELECT id, %(day)s, %(at)s FROM member LIMIT 1",
    "notice": "INSERT INTO notice (account_id, kind, name, subject, text, created_at) "
    "SELECT id, '', %(day)s, '', '', %(at)s - interval '300 days' FROM account LIMIT 1",
    "plan_price_before": "INSERT INTO plan_price_before SELECT id, %(at)s - interval '3600 days', 0, false FROM plan",
    "account_plan_before": "INSERT INTO account_plan_before "
    "SELECT id, %(at)s - interval '3600 days', plan_id FROM account LIMIT 1",
    "usage_kind": "INSERT INTO usage_kind SELECT 'a', 86400, %(at)s - interval '3600 days', 'k', '', '', 2, 'image', 1",
    "usage_tag": "INSERT INTO usage_tag "
    "SELECT 'a', 86400, %(at)s - interval '3600 days', 'k', 't', 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0",
    "sign_in_failure": "INSERT INTO sign_in_failure SELECT 'e', 'i', %(at)s",
    "event_aside": "INSERT INTO event_aside (at, spool_id, number, service, reason, line) "
    "SELECT %(at)s, 's', 1, '', 'r', ''",
    "audit": "INSERT INTO audit (at, actor, action, subject) SELECT %(at)s, 'a', 'a', 's'",
}


@pytest.fixture
def count(connection):
    def count(table):
        statement = sql.SQL("SELECT count(*) AS rows FROM {}").format(sql.Identifier(table))
        return connection.execute(statement).fetchone()["rows"]

    return count


@pytest.fixture
def _member(connection, metered):
    connection.execute("INSERT INTO member (email, role, password_hash) VALUES ('a@b.c', 'operator', '')")


def test_the_year_has_every_table_of_the_policy():
    assert set(VALUES) == {rule.table for rule in retention.RULES}


@pytest.mark.usefixtures("_member")
def test_a_year_leaves_only_rows_within_the_retention_periods(connection, count):
    before = {table: count(table) for table in VALUES}
    for day in range(365):
        now = START + timedelta(days=day)
        partition.prepare(connection, now, months_ahead=2)
        for statement in VALUES.values():
            connection.execute(statement, {"day": f"{day:03}", "at": now})
        retention.prune(connection, now, retention_days=30)
    assert len(partition.present(connection)) == 3  # December, and two months ahead
    kept = {table: count(table) - before[table] for table in VALUES}
    assert kept == {
        "spool": 365,  # needed to recognize events that are sent again, which may be 400 days old
        "spool_hour": 31,
        "key_address": 31,
        "lease": 2,
        "replica": 2,
        "idempotency": 3,
        "session": 2,
        "token": 101,  # inserted 300 days after they were revoked
        "invitation": 31,
        "dismissed_alert": 31,
        "notice": 101,
        "plan_price_before": 61,
        "account_plan_before": 61,
        "usage_kind": 61,
        "usage_tag": 61,
        "sign_in_failure": 2,
        "event_aside": 91,
        "audit": 365,
    }


def test_every_growing_table_has_a_retention_period(connection):
    """A new table that traffic fills must be added to the policy or to this list."""
    growing = {kept.table for kept in retention.RULES}
    for_good = {
        *(
            "account",
            "key",
            "key_secret",
            "member",
            "plan",
            "plan_limit",
            "price",
            "invoice",
            "pepper",
            "token",
        ),  # created by people
        *("service_key", "service_account"),  # one row per service and key, or service and account
        "limit_replica",  # pruned when a replica starts
        *("rollup_recent", "rollup_packed", "usage_aggregate"),  # needed for invoices
        *("event", "key_change", "limit_state", "spent_form"),  # partitioned, bounded, one per limit, per session
        *("job", "ledger_check", "migration", "member_preference", "membership"),  # one row each
        *("notice_channel", "notice_delivery"),  # created by people; deleted with their notices
    }
    rows = connection.execute(
        "SELECT relname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace "
        "WHERE nspname = 'public' AND relkind IN ('r', 'p') AND NOT relispartition"
    )
    assert {row["relname"] for row in rows} - growing - for_good == set()


def test_prune_repeats_until_all_old_rows_are_deleted(connection, count, monkeypatch):
    monkeypatch.setattr(retention, "_ROWS", 10)
    connection.execute(
        "INSERT INTO sign_in_failure SELECT 'e', 'i', %s FROM generate_series(1, 25)", (START - timedelta(days=9),)
    )
    retention.prune(connection, START, retention_days=30)
    assert count("sign_in_failure") == 0


@pytest.mark.usefixtures("_member")
def test_a_table_that_takes_longer_than_a_statement_may_is_pruned_like_the_others(connection, count):
    connection.execute("INSERT INTO sign_in_failure SELECT 'e', 'i', %s", (START - timedelta(days=9),))
    connection.execute(
        "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.3); RETURN OLD; END $$"
    )
    connection.execute("CREATE TRIGGER wait BEFORE DELETE ON sign_in_failure FOR EACH ROW EXECUTE FUNCTION wait()")
    connection.execute("SET statement_timeout = '200ms'")
    retention.prune(connection, START, retention_days=30)
    assert count("sign_in_failure") == 0


def test_a_transaction_that_reads_calls_keeps_only_them(connection, count, database_url, monkeypatch):
    monkeypatch.setattr(partition, "_PAUSE_S", 0.0)
    monkeypatch.setattr(partition, "_HURRY", "SET LOCAL lock_timeout = '1ms'")
    partition.prepare(connection, START - timedelta(days=90), months_ahead=0)
    connection.execute("INSERT INTO sign_in_failure SELECT 'e', 'i', %s", (START - timedelta(days=9),))
    with database.connect(database_url) as reader:
        reader.execute("SELECT count(*) FROM event")
        with pytest.raises(partition.PartitionError):
            retention.prune(connection, START, retention_days=30)
    assert count("sign_in_failure") == 0
