"""The connection pool and the migrations."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib import resources
from typing import TypeAlias

import psycopg
from psycopg.rows import DictRow, dict_row
from psycopg_pool import ConnectionPool

Connection: TypeAlias = psycopg.Connection[DictRow]
Pool: TypeAlias = ConnectionPool[Connection]
Connect: TypeAlias = Callable[[], AbstractContextManager[Connection]]

REPLICA_CONNECTIONS_MAX = 10  # per process: one per thread of `keygauge serve` and a few to spare
PAGE_CONNECTIONS_MAX = (
    6  # … for the portal and the rest of the API: less, so that they leave PostgreSQL's CPU to replicas
)
_WAIT_S = 3.0  # for a free connection, before a request is answered with 503
_STATEMENT_TIMEOUT_MS = 15_000
PAGE_STATEMENT_TIMEOUT_MS = 8_000
_LOCK = 0x6B67_0001  # the advisory lock of the migrations; the feed has another


def _options(statement_timeout_ms: int) -> str:
    # Compiling thirty sums takes longer than the sums: no JIT.
    return f"-c TimeZone=UTC -c jit=off -c statement_timeout={statement_timeout_ms}"


_SESSION = {
    "application_name": "keygauge",
    "connect_timeout": 5,
    "options": _options(_STATEMENT_TIMEOUT_MS),
    "row_factory": dict_row,
}


def connect(url: str) -> Connection:
    """Open one connection with the session's settings."""
    return psycopg.connect(url, **_SESSION)  # type: ignore[arg-type]  # a dictionary of different options


def pool(
    url: str, *, connections_max: int = REPLICA_CONNECTIONS_MAX, statement_timeout_ms: int = _STATEMENT_TIMEOUT_MS
) -> Pool:
    """Make a pool that is still closed: a fork must not inherit its connections and threads."""
    return ConnectionPool(
        url,
        connection_class=Connection,
        kwargs=_SESSION | {"options": _options(statement_timeout_ms)},
        min_size=1,
        max_size=connections_max,
        timeout=_WAIT_S,
        max_waiting=100,
        reconnect_timeout=30.0,
        open=False,
    )


def migrate(connection: Connection) -> list[str]:
    """Apply the migrations that are not yet in the database, and return their names; safe to run many times at once."""
    with connection.transaction():
        connection.execute("/* migration.prepare */ SET LOCAL statement_timeout = 0")
        connection.execute("/* migration.lock */ SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        connection.execute(
            "/* migration.create */ CREATE TABLE IF NOT EXISTS migration "
            "(name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        missing = [name for name in migrations() if name not in _applied(connection)]
        for name in missing:
            connection.execute(_script(name))
            connection.execute("/* migration.record */ INSERT INTO migration (name) VALUES (%s)", (name,))
    return missing


def pending(connection: Connection) -> list[str]:
    """Return the names of the migrations that are not yet in the database."""
    row = connection.execute("/* migration.find */ SELECT to_regclass('migration') IS NOT NULL AS found").fetchone()
    applied = _applied(connection) if row and row["found"] else set()
    return [name for name in migrations() if name not in applied]


def migrations() -> list[str]:
    """Return the names of all migrations, in order."""
    folder = resources.files("keygauge_keyservice") / "migrations"
    return sorted(file.name for file in folder.iterdir() if file.name.endswith(".sql"))


def _applied(connection: Connection) -> set[str]:
    return {row["name"] for row in connection.execute("/* migration.list */ SELECT name FROM migration")}


def _script(name: str) -> bytes:
    return (resources.files("keygauge_keyservice") / "migrations" / name).read_bytes()
