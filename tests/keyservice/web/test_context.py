import pytest
from psycopg.errors import ReadOnlySqlTransaction

from keygauge_keyservice.web.context import of_app

ADD = "INSERT INTO plan (id, name) VALUES ('free', 'Free')"


def count(connection):
    return connection.execute("SELECT count(*) AS n FROM plan").fetchone()["n"]


def test_writes_are_committed_unless_the_request_fails(app, connection):
    services = of_app(app)
    assert services.page_pool.closed  # an app may be created before a fork

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
    assert services.replica_pool.closed  # heartbeats have their own pool and never wait for pages


@pytest.mark.parametrize("name", ["connection", "replica_connection"])
def test_connection_to_a_server_that_became_a_standby_is_closed(app, name):
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
