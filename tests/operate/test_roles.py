"""The roles of roles.sql: each can do its work, and nothing else."""

from datetime import UTC, datetime

import psycopg
import pytest
from polling import until

from keygauge_keyservice import database
from keygauge_keyservice.ledger import partition

PASSWORD = "a-password-for-this-test"


@pytest.fixture
def address(cluster):
    """The URL of a migrated database with these roles: (role) -> url."""

    def address(role):
        return f"postgresql://{role}@127.0.0.1:{cluster.port}/postgres"

    with psycopg.connect(cluster.url(), autocommit=True) as superuser:
        for _ in range(2):
            superuser.execute(database.roles())
    with database.connect(address("keygauge_migrate")) as connection:
        assert database.migrate(connection) == database.migrations()
    return address


def refused(url, *statements):
    """Return the statements that a role is not permitted to run."""
    found = []
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            try:
                connection.execute(statement)
            except psycopg.errors.InsufficientPrivilege:
                found.append(statement)
    return found


def test_the_service_works_as_a_role_that_cannot_alter_tables(address, install):
    installation = install(address("keygauge_serve"))
    key, token = installation.key(installation.account())
    assert installation.call(token) == 200
    until(lambda: installation.events() == 1)
    installation.disable(key)
    until(lambda: installation.call(token) == 401)
    with installation.connect() as connection:
        partition.prepare(connection, datetime(2031, 1, 1, tzinfo=UTC), months_ahead=1)
        dropped = partition.drop_before(connection, datetime(2031, 2, 1, tzinfo=UTC))
        assert [f"{month:%Y-%m}" for month in dropped][-1] == "2031-01"
        assert [f"{month:%Y-%m}" for month in partition.present(connection)] == ["2031-02"]


def test_each_role_lacks_unneeded_privileges(address):
    changes = [
        "CREATE TABLE public.own (id integer)",
        "DROP TABLE public.event",
        "ALTER TABLE public.audit DISABLE TRIGGER ALL",
        "TRUNCATE public.audit",
        "CREATE SCHEMA own",
        "CREATE ROLE own",
        "CREATE TEMPORARY TABLE own (id integer)",
    ]
    assert refused(address("keygauge_serve"), *changes) == changes
    with psycopg.connect(address("keygauge_grafana"), autocommit=True) as grafana:
        grafana.execute("SELECT count(*) FROM account")  # the view, as its schema is the only one on the search path
    secret = [
        "SELECT hash FROM public.key_secret",
        "SELECT email FROM public.member",
        "SELECT public.drop_event_month('2031-01-01')",
    ]
    assert refused(address("keygauge_grafana"), *secret) == secret


def test_a_password_is_read_from_a_file(address, cluster, tmp_path):
    cluster.execute(f"ALTER ROLE keygauge_serve PASSWORD '{PASSWORD}'")
    rules = cluster.data / "pg_hba.conf"
    rules.write_text("host all keygauge_serve 127.0.0.1/32 scram-sha-256\n" + rules.read_text())
    cluster.execute("SELECT pg_reload_conf()")
    until(lambda: is_refused(address("keygauge_serve")))
    file = tmp_path / "pgpass"
    file.write_text(f"*:*:*:keygauge_serve:{PASSWORD}\n")
    file.chmod(0o600)
    with database.connect(f"{address('keygauge_serve')}?passfile={file}") as connection:
        assert connection.info.user == "keygauge_serve"


def is_refused(url):
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return True
    return False
