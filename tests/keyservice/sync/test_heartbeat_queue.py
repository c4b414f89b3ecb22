"""Heartbeats answered together: which ones wait, how they are batched, and how failures are isolated."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event

import msgspec
import pytest
from polling import until
from psycopg import OperationalError
from psycopg.errors import DeadlockDetected

from keygauge.protocol import Heartbeat, HeartbeatAnswer
from keygauge_keyservice.sync.heartbeat import Received
from keygauge_keyservice.sync.heartbeat_queue import AT_ONCE, MOST, HeartbeatQueue


def heartbeat(number, host="a"):
    head = {"service": "api", "host": host, "version": "0", "mode": "enforce", "cursor": None}
    return Received(msgspec.convert(head | {"replica": f"{number:032x}"}, Heartbeat), None)


def answered(received):
    names = ("found", "unknown", "keys", "plans", "held", "grants", "denials", "unused", "wanted")
    lists = {name: [] for name in names}
    numbers = {"cursor": int(received.message.replica, 16), "t_max_ms": 1, "replicas": 1}
    return HeartbeatAnswer(epoch="e", more=False, afresh=False, prices=None, **numbers, **lists)


@contextmanager
def connect():
    yield None


class Gate:
    """Answers transactions once each is released, with an error if one of these replicas takes part."""

    def __init__(self, **errors):
        self.sizes = []
        self.let_go = Event()
        self.errors = {f"{int(name[1:]):032x}": error for name, error in errors.items()}

    def __call__(self, connection, received, lock_timeout_ms):
        assert (lock_timeout_ms > 0) == (len(received) > 1)
        self.sizes.append(len(received))
        self.let_go.wait(10)
        for one in received:
            if one.message.replica in self.errors:
                raise self.errors[one.message.replica]
        return [answered(one) for one in received]


@pytest.fixture
def send_behind():
    """Return a function that sends heartbeats behind others, so that they wait: (gate, heartbeats) -> futures."""
    with ThreadPoolExecutor(200) as threads:

        def send(gate, heartbeats):
            queue = HeartbeatQueue(connect, gate)
            first = [threads.submit(queue.answer, heartbeat(10_000 + number)) for number in range(AT_ONCE)]
            until(lambda: len(gate.sizes) == AT_ONCE)
            later = [threads.submit(queue.answer, one) for one in heartbeats]
            until(lambda: len(queue._line) == len(later))
            gate.let_go.set()
            assert [future.result(10).cursor for future in first] == [10_000 + number for number in range(AT_ONCE)]
            return later

        yield send


def outcomes(futures):
    return [future.exception(10) or future.result().cursor for future in futures]


def test_a_single_heartbeat_is_answered_at_once():
    gate = Gate()
    gate.let_go.set()
    queue = HeartbeatQueue(connect, gate)
    assert [queue.answer(heartbeat(number)).cursor for number in range(5)] == [0, 1, 2, 3, 4]
    assert gate.sizes == [1] * 5


def test_waiting_heartbeats_are_answered_together(send_behind):
    gate = Gate()
    assert outcomes(send_behind(gate, [heartbeat(number) for number in range(20)])) == list(range(20))
    assert gate.sizes == [1] * AT_ONCE + [20]


def test_the_size_of_a_transaction_is_bounded(send_behind):
    gate = Gate()
    assert outcomes(send_behind(gate, [heartbeat(number) for number in range(MOST + 5)])) == list(range(MOST + 5))
    assert sorted(gate.sizes[AT_ONCE:]) == [5, MOST]


def test_a_replica_has_one_heartbeat_in_a_transaction(send_behind):
    gate = Gate()
    assert outcomes(send_behind(gate, [heartbeat(1), heartbeat(2), heartbeat(1)])) == [1, 2, 1]
    assert sorted(gate.sizes[AT_ONCE:]) == [1, 2]


@pytest.mark.parametrize("error", [ValueError("a row that cannot be"), DeadlockDetected("two")])
def test_a_failing_heartbeat_does_not_affect_others(send_behind, error):
    gate = Gate(r3=error)
    assert outcomes(send_behind(gate, [heartbeat(number) for number in range(6)])) == [0, 1, 2, error, 4, 5]
    assert gate.sizes == [1] * AT_ONCE + [6] + [1] * 6


def test_an_unavailable_database_is_not_retried_for_each_heartbeat(send_behind):
    gone = OperationalError("the connection is closed")
    gate = Gate(r3=gone)
    assert outcomes(send_behind(gate, [heartbeat(number) for number in range(6)])) == [gone] * 6
    assert gate.sizes == [1] * AT_ONCE + [6]


def test_the_queue_continues_after_errors():
    gate = Gate(r1=OperationalError())
    gate.let_go.set()
    queue = HeartbeatQueue(connect, gate)
    for _ in range(AT_ONCE + 1):
        with pytest.raises(OperationalError):
            queue.answer(heartbeat(1))
    assert queue.answer(heartbeat(2)).cursor == 2
