"""PostgreSQL that is killed, read-only or has broken connections: 503 during that time, and not longer."""

import socket
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Thread

import psycopg
import pytest
from polling import until

from keygauge_keyservice import database
from keygauge_keyservice.jobs import Job, JobRunner

ADMIN = {"Authorization": "Bearer test-admin-token-012345"}


@pytest.fixture
def _patient(monkeypatch):
    """Allow more time for connections, since a busy machine can be slow to connect."""
    monkeypatch.setattr(database, "_WAIT_S", 6)


@pytest.fixture
def _impatient(monkeypatch):
    """Allow little time for connections, so that many requests fail in a short outage."""
    monkeypatch.setattr(database, "_WAIT_S", 0.02)


@pytest.fixture
def installation(cluster, install):
    return install(cluster.url())


@pytest.fixture
def get(installation):
    """Send a request to the key service: (path) -> the answer."""
    return lambda path="/v1/accounts": installation.app.test_client().get(path, headers=ADMIN)


def busy(get, count=8):
    """Use `count` connections at once."""
    with ThreadPoolExecutor(count) as threads:
        return [answer.status_code for answer in threads.map(lambda _: get(), range(4 * count))]


@pytest.mark.usefixtures("_patient")
def test_broken_connections_cost_no_answer(cluster, get):
    assert set(busy(get)) == {200}
    cluster.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'keygauge'")
    assert set(busy(get)) == {200}


class Knocks:
    """A listener on the port of a stopped PostgreSQL that counts connection attempts."""

    def __init__(self, port):
        self.count = 0
        self._listener = socket.create_server(("127.0.0.1", port))
        self._thread = Thread(target=self._listen)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _listen(self):
        while True:
            try:
                visitor, _ = self._listener.accept()
            except OSError:
                return
            self.count += 1
            visitor.close()


@pytest.mark.long
def test_each_request_tries_to_reconnect_while_postgresql_is_down(cluster, get):
    until(lambda: set(busy(get)) == {200})
    for _ in range(2):
        cluster.kill()
        until(lambda: get().status_code != 200)  # PostgreSQL's processes end one by one
        answer = get()
        assert (answer.status_code, answer.json["code"]) == (503, "database_unavailable")
        assert answer.headers["Retry-After"] == "1"
        with Knocks(cluster.port) as knocks:
            for _ in range(6):  # long enough for the pool's own retries to be far apart: there are only three or four
                assert get().status_code == 503
            assert knocks.count >= 6
        cluster.start()
        until(lambda: get().status_code == 200)


def test_a_key_service_that_is_cut_off_holds_no_locks_for_long(installation):
    _, token = installation.key(installation.account())
    assert installation.call(token) == 200
    silent = database.pool(installation.url, silent_ms=200)
    silent.open()
    try:
        with silent.connection() as connection:
            connection.execute("LOCK TABLE limit_state, replica, key")
            with installation.connect() as other:
                other.execute("SELECT count(*) FROM limit_state, replica, key")
            with pytest.raises(psycopg.errors.IdleInTransactionSessionTimeout):
                connection.execute("SELECT")
    finally:
        silent.close()


@pytest.mark.usefixtures("_impatient")
def test_an_outage_with_many_refused_requests_ends_too(cluster, get):
    until(lambda: get().status_code == 200)
    cluster.kill()
    until(lambda: get().status_code != 200)
    for _ in range(250):  # more than may wait for a connection at once
        assert get().status_code == 503
    cluster.start()
    until(lambda: get().status_code == 200)


def test_a_read_only_database_is_not_ready_and_answers_changes_with_503(cluster, installation, get):
    installation.account()
    assert get("/readyz").status_code == 200
    cluster.execute("ALTER DATABASE postgres SET default_transaction_read_only = on")
    cluster.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'keygauge'")
    until(lambda: get("/readyz").status_code == 503)
    assert get("/readyz").json["code"] == "database_read_only"
    answer = installation.app.test_client().post("/v1/accounts", headers=ADMIN, json={"name": "A", "plan": "plan"})
    assert (answer.status_code, answer.json["code"]) == (503, "database_unavailable")
    assert answer.headers["Retry-After"] == "1"
    assert get().status_code == 200


def test_a_column_added_by_a_newer_version_costs_one_answer_per_connection_at_most(cluster, installation, get):
    account = installation.account()
    path = f"/v1/accounts/{account}/notifications"
    for _ in range(8):  # statements that are used often are prepared
        assert get(path).status_code == 200, get(path).text
    cluster.execute("ALTER TABLE notice_channel ADD COLUMN added_later integer")
    answers = [get(path).status_code for _ in range(12)]
    assert set(answers) <= {200, 503}
    assert set(answers[6:]) == {200}  # the pool has fewer than 6 connections


def test_reports_are_served_from_a_standby(cluster, installation, install_read_only):
    account = installation.account()
    cluster.execute("ALTER DATABASE postgres SET default_transaction_isolation = 'serializable'")
    standby = cluster.standby()
    try:
        client = install_read_only(standby.url()).test_client()
        ready = client.get("/readyz")
        assert ready.status_code == 200, ready.text
        listed = client.get("/v1/accounts", headers=ADMIN).json
        assert [found["id"] for found in listed["accounts"]] == [account]
        answer = client.post("/v1/accounts", headers=ADMIN, json={"name": "B", "plan": "plan"})
        assert (answer.status_code, answer.json["code"]) == (503, "read_only")
    finally:
        standby.delete()


def test_synchronous_standby_takes_over_and_nothing_is_lost(cluster, installation):
    _, token = installation.key(installation.account())
    standby = cluster.standby()
    try:
        cluster.wait_for_standby()
        for _ in range(20):
            assert installation.call(token) == 200
        until(lambda: installation.events() == 20)
        installation.down()
        cluster.kill()
        standby.promote()
        installation.url = standby.url()
        assert installation.events() == 20
        installation.up()
        for _ in range(5):
            until(lambda: installation.call(token) == 200)
        until(lambda: installation.events() >= 25)
    finally:
        installation.end()
        standby.delete()


def test_a_server_that_hangs_is_left_for_its_standby(cluster, install):
    standby = cluster.standby()
    hosts = ",".join(f"127.0.0.1:{node.port}" for node in (cluster, standby))
    installation = install(f"postgresql://postgres@{hosts}/postgres?target_session_attrs=read-write")

    def get():
        return installation.app.test_client().get("/v1/accounts", headers=ADMIN)

    try:
        until(lambda: set(busy(get)) == {200})
        cluster.freeze()
        standby.promote()
        until(lambda: set(busy(get)) == {200})
    finally:
        installation.end()
        standby.delete()


def test_jobs_leave_a_server_that_hangs_too(cluster, monkeypatch):
    monkeypatch.setattr(database, "_ASK_S", 0.3)
    standby = cluster.standby()
    hosts = ",".join(f"127.0.0.1:{node.port}" for node in (cluster, standby))
    url = f"postgresql://postgres@{hosts}/postgres?target_session_attrs=read-write"
    with database.connect(url) as connection:
        database.migrate(connection)
        assert connection.execute("SELECT pg_sleep(1)")  # a long statement does not mean that it hangs
    ports = []
    job = Job("test", timedelta(0), lambda connection: ports.append(connection.info.port))
    runner = JobRunner(url, [job], interval_s=0.05)
    runner.start()
    try:
        until(lambda: cluster.port in ports)
        until(lambda: standby.execute("SELECT 1 FROM job"))
        cluster.freeze()
        standby.promote()
        until(lambda: standby.port in ports)
    finally:
        runner.stop()
        standby.delete()
