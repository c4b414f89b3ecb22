"""Test databases: each worker has one, emptied and renamed for each test, as creating a new one takes a second."""

import uuid

import psycopg
from psycopg import sql

MOST_USES = 200  # then a new one: dead rows make it larger and slower
MOST_BYTES = 64 << 20

# Everything except rows that a test may change; a database in which one did is dropped.
_SHAPE = """SELECT
    (SELECT string_agg(concat_ws(' ', relname, relkind, relnatts), ',' ORDER BY oid) FROM pg_class
     WHERE relnamespace = ANY (spaces) AND NOT relispartition AND relkind IN ('r', 'p', 'v', 'S')) AS relations,
    (SELECT string_agg(conname || convalidated, ',' ORDER BY pg_constraint.oid) FROM pg_constraint
     JOIN pg_class ON pg_class.oid = conrelid WHERE connamespace = ANY (spaces) AND NOT relispartition) AS constraints,
    (SELECT string_agg(prosrc, ',' ORDER BY oid) FROM pg_proc WHERE pronamespace = ANY (spaces)) AS functions,
    (SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal) AS triggers,
    (SELECT string_agg(name, ',' ORDER BY name) FROM migration) AS migrations,
    (SELECT string_agg(setconfig::text, ',' ORDER BY setrole) FROM pg_db_role_setting
     JOIN pg_database ON pg_database.oid = setdatabase WHERE datname = current_database()) AS settings
FROM (SELECT ARRAY['public'::regnamespace, 'grafana'::regnamespace]::oid[] AS spaces) AS spaces"""

_EMPTY = """DO $$
DECLARE
    name text;
    has_rows boolean;
BEGIN
    SET LOCAL session_replication_role = replica;  -- no foreign key looks at what is deleted
    FOR name IN SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'event'::regclass LOOP
        EXECUTE 'DROP TABLE ' || name;
    END LOOP;
    FOR name IN SELECT oid::regclass FROM pg_class
        WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname <> 'migration'
    LOOP
        CONTINUE WHEN pg_relation_size(name::regclass) = 0;  -- cheaper to see than that there are no rows
        EXECUTE format('SELECT EXISTS (SELECT FROM %s)', name) INTO has_rows;
        IF has_rows THEN
            EXECUTE 'DELETE FROM ' || name;
        END IF;
    END LOOP;
    PERFORM setval(oid::regclass, 1, false) FROM pg_class WHERE relkind = 'S' AND relnamespace = 'public'::regnamespace;
END
$$"""


class Databases:
    """A provider of one migrated database at a time, under a new name each time, so no old connection reuses it."""

    def __init__(self, server, template):
        self._server = server
        self._template = template
        self._name = None
        self._uses = 0
        self._administrator = None  # a persistent connection: connecting takes longer than most statements
        with psycopg.connect(server.get_uri(database=template)) as connection:
            self._shape = connection.execute(_SHAPE).fetchone()

    def take(self):
        """Return the URL of a database without rows."""
        name = f"test_{uuid.uuid4().hex}"
        if self._name is None or not self._is_empty_as(name):
            self.drop()
            names = sql.Identifier(name), sql.Identifier(self._template)
            self._administer("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY", *names)
            self._uses = 0
        self._name = name
        self._uses += 1
        return self._server.get_uri(database=name)

    def give_back(self):
        """Close all connections, so that code that outlives its test sees no other test's rows."""
        self._administer(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = {}", sql.Literal(self._name)
        )

    def drop(self):
        """Drop the database, if there is one."""
        if self._name is not None:
            self._administer("DROP DATABASE IF EXISTS {} WITH (FORCE)", sql.Identifier(self._name))
            self._name = None

    def close(self):
        """Drop the database and disconnect from the server."""
        self.drop()
        if self._administrator is not None:
            self._administrator.close()

    def _is_empty_as(self, name):
        """Rename and empty the database; return False if it cannot be made as good as new."""
        if self._uses >= MOST_USES:
            return False
        try:
            self._administer("ALTER DATABASE {} RENAME TO {}", sql.Identifier(self._name), sql.Identifier(name))
            self._name = name
            with psycopg.connect(self._server.get_uri(database=name), autocommit=True) as connection:
                size = connection.execute("SELECT pg_database_size(current_database())").fetchone()[0]
                if size > MOST_BYTES or connection.execute(_SHAPE).fetchone() != self._shape:
                    return False
                connection.execute(_EMPTY)
        except psycopg.Error:
            return False
        return True

    def _administer(self, statement, *parts):
        if self._administrator is None or self._administrator.closed:
            self._administrator = psycopg.connect(self._server.get_uri(), autocommit=True)
        try:
            self._administrator.execute(sql.SQL(statement).format(*parts))
        except psycopg.OperationalError:
            if not self._administrator.closed:
                raise
            self._administer(statement, *parts)  # PostgreSQL was restarted
