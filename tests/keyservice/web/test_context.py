import pytest
from psycopg.errors import ReadOnlySqlTransaction

from keygauge_keyservice.web.context import of_app

ADD = "INSERT INTO plan (id, name) VALUES ('free', 'Free')"


def count(connection):
    return connection.execute("SELECT count(*) AS n FROM plan").fetchone()["n"]


def test_what_a_request_wrote_is_kept_unless_it_failed(app, connection):
    services = of_app(app)
    assert services.page_pool.closed  # an app may be made before a fork

    def fail():
        with services.connection() as one:
            one.execute(ADD)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert count(connection) == 0
    with services.connection() as one:
        one.execute(ADD)
    assert count(connection) == 1
    assert services.replica_pool.closed  # pages keep no heartbeat waiting


@pytest.mark.parametrize("name", ["connection", "replica_connection"])
def test_a_connection_to_what_became_a_standby_is_not_used_again(app, name):
    connect, used = getattr(of_app(app), name), []

    def write():
        with connect() as one:
            used.append(one)
            one.execute("SET TRANSACTION READ ONLY")
            one.execute(ADD)

    with pytest.raises(ReadOnlySqlTransaction):
        write()
    assert used[0].closed
    with connect() as other:
        other.execute(ADD)
