"""Connections to the database and its migrations."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from importlib import resources
from time import monotonic
from typing import Any, TypeAlias

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.rows import DictRow, dict_row
from psycopg_pool import ConnectionPool, PoolTimeout

from keygauge_keyservice import database_password

Connection: TypeAlias = psycopg.Connection[DictRow]
Pool: TypeAlias = ConnectionPool[Connection]
Connect: TypeAlias = Callable[[], AbstractContextManager[Connection]]

REPLICA_CONNECTIONS_MAX = 10  # per process: one per thread of `keygauge serve` and a few spare
# for the portal and the rest of the API: fewer, to leave PostgreSQL's CPU to replicas
PAGE_CONNECTIONS_MAX = 6
_WAIT_S = 1.5  # to wait for a connection before answering 503; replicas time out after 2 s
_RECONNECT_S = 0.25  # after which the pool gives up reconnecting and the next request may try again
_STATEMENT_TIMEOUT_MS = 15_000
PAGE_STATEMENT_TIMEOUT_MS = 8_000
# After which PostgreSQL ends a transaction whose client is silent: a host that was cut off or froze must not hold its
# locks until TCP gives up, two hours later. Less than the 10 s for which replicas can do without a heartbeat.
_SILENT_MS = 5_000
PAGE_SILENT_MS = 15_000  # a page may compute for seconds on a busy machine
_PATIENCE_S = 5.0  # beyond a statement's timeout, after which PostgreSQL would have answered
_COMMAND_SILENT_MS = 300_000  # for commands and jobs, which compute for long or ask a person
# Of silence, after which a command or job, whose statements may take hours, asks whether the server hangs.
_ASK_S = 20.0
_LOCK = 0x6B67_0001  # the migrations' advisory lock; the change feed uses another

# An unreachable server is given up within seconds.
_CONNECTION = {
    "application_name": "keygauge",
    "client_encoding": "utf8",
    "connect_timeout": 3,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "row_factory": dict_row,
}
# Settings that a role or a database may override. They are set by a statement, as poolers do not accept the start-up
# parameter `options`. JIT is off, as compiling thirty sums takes longer than running them.
_FORMATS = {
    "TimeZone": "UTC",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "standard_conforming_strings": "on",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "array_nulls": "on",
    "transform_null_equals": "off",
    "quote_all_identifiers": "off",
}
_SESSION = {
    **_FORMATS,
    "search_path": '"$user", public',
    "default_transaction_deferrable": "off",
    "lock_timeout": "0",
    "idle_session_timeout": "0",
    "synchronous_commit": "on",
    "jit": "off",
}
# Separately and first: in serializable mode, a standby refuses every query.
_ISOLATE = "/* session.isolate */ SET default_transaction_isolation = 'read committed'"
_SINCE_17 = {"transaction_timeout": "0"}
_VERSION_17 = 170_000
# `synchronous_commit` is not off, so that acknowledged data is on disk; how many standbys must have it too is not ours.
_SET = """/* session.set */ SELECT set_config(name, value, false)
FROM unnest(%s::text[], %s::text[]) AS setting (name, value)
WHERE name <> 'synchronous_commit' OR current_setting(name) = 'off'"""

# Errors of prepared statements that a migration or a pooler made invalid; new connections have none.
STALE_STATEMENT = (
    psycopg.errors.FeatureNotSupported,
    psycopg.errors.InvalidSqlStatementName,
    psycopg.errors.DuplicatePreparedStatement,
)

# Errors of a database that is half restored, of another version, or grants too little; a bug of ours looks the same.
UNFIT = (
    *STALE_STATEMENT,
    psycopg.errors.InvalidSchemaName,
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.UndefinedFunction,
    psycopg.errors.InsufficientPrivilege,
)

# Errors that mean "not now": unreachable, shutting down, read-only, full, timed out, in doubt or unfit.
UNAVAILABLE = (
    *(psycopg.OperationalError, psycopg.InternalError, psycopg.InterfaceError),
    psycopg.errors.SnapshotTooOld,  # not a subclass of the others
    *UNFIT,
)

# Errors that mean that another request, at the same time, deleted or created what this one refers to.
CHANGED = (psycopg.errors.ForeignKeyViolation, psycopg.errors.UniqueViolation)


class EncodingError(psycopg.OperationalError):
    """The database's encoding cannot store every text."""


class _Pool(ConnectionPool[Connection]):
    """A pool that forgets who gave up waiting."""

    def getconn(self, timeout: float | None = None) -> Connection:
        """Return a connection.

        The superclass forgets only when a connection is returned, so an outage would use up memory, or the places of a
        bounded queue for good.

        Raises:
            PoolTimeout: there was none in time.
        """
        try:
            return super().getconn(timeout)
        except PoolTimeout:
            with self._lock:
                self._waiting = deque(one for one in self._waiting if one.error is None)
            raise


class _Connection(psycopg.Connection[DictRow]):
    """A connection whose password may come from a command, and that does not wait for a silent server for ever."""

    patience_s: float | None = None  # None: for ever
    is_timed = False  # whether a timeout of the server's ends every statement before

    def wait(self, gen: Any, *arguments: Any, **options: Any) -> Any:
        """Wait for the server's answer, and close the connection if there is none.

        A server that hangs, for example because its disk does, keeps its connections, so no other timeout ends them.

        Raises:
            ConnectionTimeout: the server was silent for too long.
        """
        if self.patience_s is not None:
            gen = self._impatient(gen, self.patience_s)
        return super().wait(gen, *arguments, **options)

    def _impatient(self, gen: Any, patience_s: float) -> Generator[Any, Any, Any]:
        """Run a generator of psycopg, which is sent a false value every 0.1 s while nothing arrives."""
        until = monotonic() + patience_s
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                wanted = gen.send(ready)
                if ready:
                    until = monotonic() + patience_s
                elif monotonic() > until:
                    if self.is_timed or self._hangs():
                        self.close()
                        raise psycopg.errors.ConnectionTimeout("the server is silent")
                    until = monotonic() + patience_s
        except StopIteration as ended:
            return ended.value

    def _hangs(self) -> bool:
        """Return whether the server does not answer another connection either."""
        info = self.info
        place = {"host": info.host, "hostaddr": info.hostaddr or None, "port": info.port}
        try:
            psycopg.connect(make_conninfo(info.dsn, password=info.password or None, **place)).close()
        except psycopg.errors.ConnectionTimeout:
            return True
        except psycopg.OperationalError:  # an answer too
            return False
        return False

    @classmethod
    def connect(cls, conninfo: str = "", **options: Any) -> Connection:  # type: ignore[override]  # all options by name
        """Connect; if the command's password is refused, once more with a new one."""
        password = database_password.find()
        if password is None:
            return super().connect(conninfo, **options)
        try:
            return super().connect(conninfo, password=password, **options)
        except psycopg.OperationalError:
            renewed = database_password.find(after=password)
            if renewed == password:
                raise
            return super().connect(conninfo, password=renewed, **options)


def connect(url: str) -> Connection:
    """Open one connection with the session's settings.

    Raises:
        EncodingError: the database's encoding is not UTF-8.
    """
    connection: Connection = _Connection.connect(url, **_options())
    if isinstance(connection, _Connection):
        connection.patience_s = _ASK_S
    try:
        _configure(connection, _STATEMENT_TIMEOUT_MS, _COMMAND_SILENT_MS)
    except BaseException:
        connection.close()
        raise
    return connection


def set_formats(connection: Connection) -> None:
    """Set how values are written and read, whatever the role or database says; for databases of others."""
    connection.execute(_SET, (list(_FORMATS), list(_FORMATS.values())))


def pool(
    url: str,
    *,
    connections_max: int = REPLICA_CONNECTIONS_MAX,
    statement_timeout_ms: int = _STATEMENT_TIMEOUT_MS,
    silent_ms: int = _SILENT_MS,
    read_only: bool = False,
) -> Pool:
    """Create a pool that is still closed: a fork must not inherit its connections and threads.

    Connections are checked before use, so that no request fails because of a broken one. Reconnecting is given up soon,
    since the next request starts another attempt: the pool's own attempts become less and less frequent. The queue is
    unbounded, as the pool starts no attempts while it is full; no thread has more than one place.
    """

    def configure(connection: Connection) -> None:
        if isinstance(connection, _Connection):
            connection.patience_s = statement_timeout_ms / 1000 + _PATIENCE_S
            connection.is_timed = True
        _configure(connection, statement_timeout_ms, silent_ms)
        connection.read_only = read_only or None

    return _Pool(
        url,
        connection_class=_Connection,
        kwargs=_options(),
        configure=configure,
        check=_check,
        min_size=1,
        max_size=connections_max,
        timeout=_WAIT_S,
        reconnect_timeout=_RECONNECT_S,
        open=False,
    )


def _check(connection: Connection) -> None:
    """Check that the server still answers, and soon enough for the request that waits."""
    if isinstance(connection, _Connection):
        patience_s, connection.patience_s = connection.patience_s, _WAIT_S
        ConnectionPool.check_connection(connection)
        connection.patience_s = patience_s


def is_read_only(connection: Connection) -> bool:
    """Return whether the database is read-only: a standby, or configured so."""
    row = connection.execute(
        "/* session.read_only */ SELECT pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on' AS found"
    ).fetchone()
    return bool(row and row["found"])


def _options() -> dict[str, Any]:
    """Return the connection options; KEYGAUGE_DATABASE_PREPARE=0 is for poolers without prepared statements."""
    if os.environ.get("KEYGAUGE_DATABASE_PREPARE") == "0":
        return {**_CONNECTION, "prepare_threshold": None}
    return dict(_CONNECTION)


def _configure(connection: Connection, statement_timeout_ms: int, silent_ms: int) -> None:
    encoding = connection.info.parameter_status("server_encoding")
    if encoding not in {"UTF8", None}:
        raise EncodingError(
            f"the database is encoded in {encoding}, which cannot hold every text: make another, "
            "CREATE DATABASE keygauge ENCODING 'UTF8' TEMPLATE template0, and load a pg_dump of this one into it"
        )
    timeouts = {"statement_timeout": statement_timeout_ms, "idle_in_transaction_session_timeout": silent_ms}
    values = _SESSION | {name: str(ms) for name, ms in timeouts.items()}
    if connection.info.server_version >= _VERSION_17:
        values |= _SINCE_17
    connection.autocommit = True  # so that the timeouts that it replaces cannot end a transaction before
    connection.execute(_ISOLATE)
    connection.execute(_SET, (list(values), list(values.values())))
    connection.autocommit = False


def migrate(connection: Connection) -> list[str]:
    """Apply pending migrations and return their names; safe to run concurrently.

    When nothing is pending, no privilege to change tables is needed.
    """
    with connection.transaction():
        if not pending(connection):
            return []
        connection.execute("/* migration.prepare */ SET LOCAL statement_timeout = 0")
        connection.execute("/* migration.lock */ SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        connection.execute(
            "/* migration.create */ CREATE TABLE IF NOT EXISTS migration "
            "(name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        applied = _applied(connection)
        missing = [name for name in migrations() if name not in applied]
        for name in missing:
            connection.execute(_script(name))
            connection.execute("/* migration.record */ INSERT INTO migration (name) VALUES (%s)", (name,))
    return missing


def pending(connection: Connection) -> list[str]:
    """Return the names of pending migrations."""
    applied = _applied_if_any(connection)
    return [name for name in migrations() if name not in applied]


def newer(connection: Connection) -> list[str]:
    """Return the names of applied migrations that this version does not know."""
    return sorted(_applied_if_any(connection).difference(migrations()))


def migrations() -> list[str]:
    """Return the names of all migrations, in order."""
    folder = resources.files("keygauge_keyservice") / "migrations"
    return sorted(file.name for file in folder.iterdir() if file.name.endswith(".sql"))


def roles() -> str:
    """Return the SQL that creates roles with least privileges, for a superuser to run."""
    return (resources.files("keygauge_keyservice") / "roles.sql").read_text(encoding="utf-8")


def _applied_if_any(connection: Connection) -> set[str]:
    row = connection.execute("/* migration.find */ SELECT to_regclass('migration') IS NOT NULL AS found").fetchone()
    return _applied(connection) if row and row["found"] else set()


def _applied(connection: Connection) -> set[str]:
    return {row["name"] for row in connection.execute("/* migration.list */ SELECT name FROM migration")}


def _script(name: str) -> bytes:
    return (resources.files("keygauge_keyservice") / "migrations" / name).read_bytes()
