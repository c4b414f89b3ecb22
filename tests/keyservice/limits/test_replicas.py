import msgspec
import pytest

from keygauge.protocol import Heartbeat
from keygauge_keyservice.limits import replicas

HEAD = {"service": "api", "host": "h", "version": "1", "mode": "enforce"}


@pytest.fixture
def see(connection):
    def see(*numbers, **parts):
        heartbeats = [msgspec.convert(HEAD | {"replica": f"{one:032x}"} | parts, Heartbeat) for one in numbers]
        return replicas.see(connection, heartbeats)

    return see


@pytest.fixture
def use(connection):
    connection.execute("INSERT INTO plan (id, name) VALUES ('p', 'P')")
    connection.execute("INSERT INTO account (id, name, plan_id) VALUES ('a', 'A', 'p')")
    for limit in ("1:a", "2:a"):
        connection.execute("INSERT INTO limit_state (id, account_id) VALUES (%s, 'a')", (limit,))
    return lambda *pairs: replicas.use(connection, pairs)


def test_replicas_seen_recently_are_alive(connection, see):
    assert see(1).alive == 1
    assert see(2, 3).alive == 3
    assert see(2).alive == 3
    connection.execute("UPDATE replica SET seen_at = seen_at - interval '6 seconds' WHERE id = %s", (f"{1:032x}",))
    assert see(2).alive == 2


def test_heartbeats_that_request_units_are_recognized_by_their_numbers(see):
    acquire = [{"limit": "1:a", "units": 1}]

    def repeated(*numbers, **parts):
        return {int(name, 16) for name in see(*numbers, **parts).repeated}

    assert repeated(1, 2, number=7, acquire=acquire) == set()
    assert repeated(1, 3, number=7, acquire=acquire) == {1}
    assert repeated(2, number=6, acquire=acquire) == {2}  # a later one was answered
    assert repeated(1, number=8, acquire=acquire) == set()
    assert repeated(2, number=7) == repeated(2, number=6) == set()  # requests nothing
    assert repeated(2, acquire=acquire) == repeated(2, acquire=acquire) == set()  # without a number: older middleware


def test_old_replicas_are_forgotten_when_another_starts(connection, see):
    see(1, 2)
    connection.execute("UPDATE replica SET seen_at = seen_at - interval '2 days' WHERE id = %s", (f"{1:032x}",))
    see(2, cursor=5)
    assert connection.execute("SELECT count(*) AS n FROM replica").fetchone()["n"] == 2
    see(3)
    assert connection.execute("SELECT count(*) AS n FROM replica").fetchone()["n"] == 2


def test_other_replicas_are_counted_per_limit(connection, use):
    assert use() == {}
    assert use(("r1", "1:a")) == {}
    assert use(("r2", "1:a"), ("r2", "2:a")) == {"1:a": 1}
    assert use(("r1", "1:a"), ("r1", "2:a")) == {"1:a": 1, "2:a": 1}
    assert use(("r3", "1:a"), ("r4", "1:a")) == {"1:a": 2}
    connection.execute("UPDATE limit_replica SET seen_at = seen_at - interval '41 seconds'")
    assert use(("r1", "1:a")) == {}
