from concurrent.futures import ThreadPoolExecutor

from keygauge_keyservice import database


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


def test_migrations_started_together_apply_once(empty_database_url):
    def migrate(_):
        with database.connect(empty_database_url) as connection:
            return database.migrate(connection)

    with ThreadPoolExecutor(4) as threads:
        applied = list(threads.map(migrate, range(4)))
    assert sorted(len(names) for names in applied) == [0, 0, 0, len(database.migrations())]


def test_sessions_speak_utc_and_give_up_slow_statements(connection):
    row = connection.execute(
        "SELECT current_setting('TimeZone') AS zone, current_setting('statement_timeout') AS timeout"
    ).fetchone()
    assert row == {"zone": "UTC", "timeout": "15s"}
