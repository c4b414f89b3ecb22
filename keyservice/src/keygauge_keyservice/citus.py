"""Distribution with Citus: the ledger's tables are sharded by account, all others stay on the coordinator.

Keys and limits stay local, because Citus has no foreign keys from distributed tables to accounts and plans.
"""

from __future__ import annotations

from psycopg import sql

from keygauge_keyservice.database import Connection

TABLES = ("event", "rollup_recent", "rollup_packed", "usage_aggregate", "usage_kind", "usage_tag")
SHARDS = 32
# Functions whose query Citus accepts only when planned on its own, not as part of another query.
FUNCTIONS = (
    "usage_aggregate_of_rollups(timestamptz, timestamptz, integer[])",
    "grafana.usage(text, timestamptz, timestamptz, interval, text[])",
    "grafana.latency(timestamptz, timestamptz, interval, text[], text[], text[], text[])",
)
# Functions that dashboards use in conditions on distributed tables, so that each worker needs them.
_ON_WORKERS = """/* citus.on_workers */
SELECT create_distributed_function(oid::regprocedure) FROM pg_proc
WHERE pronamespace = 'grafana'::regnamespace AND provolatile = 'i'"""


class CitusError(RuntimeError):
    """The database cannot be distributed."""


def distribute(connection: Connection, *, shards: int = SHARDS) -> list[str]:
    """Distribute the tables that are not distributed yet, in one transaction, and return their names; idempotent.

    The functions follow in another transaction, as Citus changes tables on several connections and functions on one.

    Raises:
        CitusError: the extension is not installed.
    """
    if not is_installed(connection):
        raise CitusError(
            "the database has no extension citus: add it to shared_preload_libraries, restart, CREATE EXTENSION citus"
        )
    with connection.transaction():
        connection.execute("/* citus.prepare */ SET LOCAL statement_timeout = 0")
        rows = connection.execute("/* citus.list */ SELECT logicalrel::regclass::text AS name FROM pg_dist_partition")
        missing = [name for name in TABLES if name not in {row["name"] for row in rows}]
        for name in missing:
            _distribute(connection, name, shards)
    with connection.transaction():
        connection.execute(_ON_WORKERS)
        for signature in FUNCTIONS:
            plan_by_itself(connection, signature)
    return missing


def is_installed(connection: Connection) -> bool:
    """Return whether the Citus extension is installed."""
    row = connection.execute("/* citus.find */ SELECT FROM pg_extension WHERE extname = 'citus'").fetchone()
    return row is not None


def complaints(connection: Connection) -> list[str]:
    """Return problems of a Citus database; empty if Citus is not installed."""
    if not is_installed(connection):
        return []
    found = []
    rows = connection.execute("/* citus.list */ SELECT logicalrel::regclass::text AS name FROM pg_dist_partition")
    if missing := set(TABLES) - {row["name"] for row in rows}:
        found.append(f"{', '.join(sorted(missing))}: not distributed over the workers; run 'keygauge migrate --citus'")
    row = connection.execute(
        "/* citus.recovery */ SELECT setting::bigint AS interval_ms FROM pg_settings "
        "WHERE name = 'citus.recover_2pc_interval'"
    ).fetchone()
    if row is not None and row["interval_ms"] < 0:
        found.append(
            "citus.recover_2pc_interval is off: transactions left in doubt by a worker's crash would hold their locks "
            "for ever; ALTER SYSTEM SET citus.recover_2pc_interval = '1min'"
        )
    return found


def plan_by_itself(connection: Connection, signature: str) -> None:
    """Replace an SQL function, whose query is inlined into its caller's, with the same one in PL/pgSQL."""
    row = connection.execute(
        "/* citus.function */ SELECT pg_proc.oid::regproc::text AS name, prosrc AS query, "
        "pg_get_function_arguments(pg_proc.oid) AS arguments, pg_get_function_result(pg_proc.oid) AS result, "
        "lanname AS language "
        "FROM pg_proc JOIN pg_language ON pg_language.oid = prolang WHERE pg_proc.oid = %s::regprocedure",
        (signature,),
    ).fetchone()
    if row is None or row["language"] != "sql":
        return
    body = f"\n#variable_conflict use_column\nBEGIN\nRETURN QUERY {row['query'].strip()};\nEND\n"
    connection.execute(
        sql.SQL(
            "/* citus.replace */ CREATE OR REPLACE FUNCTION {name}({arguments}) RETURNS {result} "
            "LANGUAGE plpgsql STABLE AS {body}"
        ).format(
            name=sql.SQL(row["name"]),
            arguments=sql.SQL(row["arguments"]),
            result=sql.SQL(row["result"]),
            body=sql.Literal(body),
        )
    )


def _distribute(connection: Connection, name: str, shards: int) -> None:
    """Distribute a table; shards are colocated, so that one account's batch is a transaction on one worker."""
    if name == TABLES[0]:
        connection.execute(
            "/* citus.distribute */ SELECT create_distributed_table("
            "%s, 'account_id', colocate_with => 'none', shard_count => %s)",
            (name, shards),
        )
    else:
        connection.execute(
            "/* citus.distribute */ SELECT create_distributed_table(%s, 'account_id', colocate_with => %s)",
            (name, TABLES[0]),
        )
