from concurrent.futures import ThreadPoolExecutor
from importlib import resources

from keygauge_keyservice import database

# Every schema object, one row each, in an order that does not depend on when it was created.
CATALOG = """
SELECT 'column' AS kind, format('%s.%s.%s', table_schema, table_name, column_name) AS name,
       concat_ws(' ', data_type, is_nullable, column_default, is_identity) AS definition
FROM information_schema.columns WHERE table_schema IN ('public', 'grafana')
UNION ALL
SELECT 'constraint', format('%s.%s', conrelid::regclass, conname), pg_get_constraintdef(oid)
FROM pg_constraint WHERE connamespace = 'public'::regnamespace
UNION ALL
SELECT 'index', indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
UNION ALL
SELECT 'view', format('%s.%s', schemaname, viewname), definition FROM pg_views WHERE schemaname IN ('public', 'grafana')
UNION ALL
SELECT 'function', format('%s %s', oid::regprocedure, proacl), pg_get_functiondef(oid)
FROM pg_proc WHERE pronamespace IN ('public'::regnamespace, to_regnamespace('grafana'))
UNION ALL
SELECT 'trigger', format('%s.%s', tgrelid::regclass, tgname), pg_get_triggerdef(oid)
FROM pg_trigger WHERE NOT tgisinternal
UNION ALL
SELECT 'table', oid::regclass::text, concat_ws(' ', relkind, reloptions, relacl)
FROM pg_class WHERE relkind IN ('r', 'p', 'v') AND relnamespace IN ('public'::regnamespace, to_regnamespace('grafana'))
ORDER BY 1, 2
"""


def test_migrations_apply_once(empty_database_url):
    with database.connect(empty_database_url) as connection:
        assert database.pending(connection) == database.migrations()
        assert database.migrate(connection) == database.migrations()
        assert database.migrate(connection) == []
        assert database.pending(connection) == []


def test_migrations_are_numbered_without_gaps():
    assert [name[:5] for name in database.migrations()] == [
        f"{n:04}_" for n in range(1, len(database.migrations()) + 1)
    ]


def test_schema_sql_equals_the_migrated_schema(connection, empty_database_url):
    schema = resources.files("keygauge_keyservice").joinpath("schema.sql").read_bytes()
    with database.connect(empty_database_url) as other:
        other.execute(schema)
        read = other.execute(CATALOG).fetchall()
    made = [row for row in connection.execute(CATALOG).fetchall() if "migration" not in row["name"]]
    assert read == made
    assert {row["kind"] for row in read} >= {"column", "constraint", "index", "view", "function", "trigger", "table"}


def test_concurrent_migrations_apply_once(empty_database_url):
    def migrate(_):
        with database.connect(empty_database_url) as connection:
            return database.migrate(connection)

    with ThreadPoolExecutor(4) as threads:
        applied = list(threads.map(migrate, range(4)))
    assert sorted(len(names) for names in applied) == [0, 0, 0, len(database.migrations())]


def test_sessions_use_utc_and_a_statement_timeout(connection):
    row = connection.execute(
        "SELECT current_setting('TimeZone') AS zone, current_setting('statement_timeout') AS timeout"
    ).fetchone()
    assert row == {"zone": "UTC", "timeout": "15s"}


def test_sessions_set_every_timeout(connection):
    """A timeout of the role or database that a newer PostgreSQL has must be added."""
    rows = connection.execute(
        "SELECT name, source FROM pg_settings WHERE name ~ '_timeout$' AND context = 'user' AND category ~ 'Client'"
    )
    sources = {row["name"]: row["source"] for row in rows}
    assert {"statement_timeout", "lock_timeout", "idle_session_timeout"} <= set(sources)
    assert set(sources.values()) == {"session"}
