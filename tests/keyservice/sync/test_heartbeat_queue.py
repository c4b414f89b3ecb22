"""Heartbeats answered together: which ones wait, how they are batched, and how failures are isolated."""

from contextlib import contextmanager
from threading import Event

import msgspec
import pytest
from polling import until
from psycopg import OperationalError
from psycopg.errors import DeadlockDetected, LockNotAvailable

from keygauge.protocol import Heartbeat, HeartbeatAnswer
from keygauge_keyservice.sync import heartbeat_queue
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
        self.cancels = []  # which of the later ones
        self.let_go = Event()
        self.errors = {f"{int(name[1:]):032x}": error for name, error in errors.items()}

    def __call__(self, connection, received, lock_timeout_ms):
        assert 0 < lock_timeout_ms < 1_000
        self.sizes.append(len(received))
        self.let_go.wait(10)
        for one in received:
            if one.message.replica in self.errors:
                raise self.errors[one.message.replica]
        return [answered(one) for one in received]


def send_behind(gate, heartbeats):
    """Send heartbeats behind others, so that they wait; return their future answers."""
    queue = HeartbeatQueue(connect, gate)
    first = []
    for number in range(AT_ONCE):
        first.append(queue.submit(heartbeat(10_000 + number)))
        until(lambda: len(gate.sizes) == len(first))
    later = [queue.submit(one) for one in heartbeats]
    for number in gate.cancels:
        later[number].cancel()
    gate.let_go.set()
    assert [future.result(10).cursor for future in first] == [10_000 + number for number in range(AT_ONCE)]
    return later


def outcomes(futures):
    return [future.exception(10) or future.result().cursor for future in futures]


def test_a_single_heartbeat_is_answered_at_once():
    gate = Gate()
    gate.let_go.set()
    queue = HeartbeatQueue(connect, gate)
    assert [queue.submit(heartbeat(number)).result(10).cursor for number in range(5)] == [0, 1, 2, 3, 4]
    assert gate.sizes == [1] * 5


def test_waiting_heartbeats_are_answered_together():
    gate = Gate()
    assert outcomes(send_behind(gate, [heartbeat(number) for number in range(20)])) == list(range(20))
    assert gate.sizes == [1] * AT_ONCE + [20]


def test_the_size_of_a_transaction_is_bounded():
    gate = Gate()
    assert outcomes(send_behind(gate, [heartbeat(number) for number in range(MOST + 5)])) == list(range(MOST + 5))
    assert sorted(gate.sizes[AT_ONCE:]) == [5, MOST]


def test_a_replica_has_one_heartbeat_in_a_transaction():
    gate = Gate()
    assert outcomes(send_behind(gate, [heartbeat(1), heartbeat(2), heartbeat(1)])) == [1, 2, 1]
    assert sorted(gate.sizes[AT_ONCE:]) == [1, 2]


@pytest.mark.parametrize("error", [ValueError("a row that cannot be"), DeadlockDetected("two")])
def test_a_failing_heartbeat_does_not_affect_others(error):
    gate = Gate(r3=error)
    assert outcomes(send_behind(gate, [heartbeat(number) for number in range(6)])) == [0, 1, 2, error, 4, 5]
    assert gate.sizes == [1] * AT_ONCE + [6] + [1] * 6


def test_an_unavailable_database_is_not_retried_for_each_heartbeat():
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
            queue.submit(heartbeat(1)).result(10)
    assert queue.submit(heartbeat(2)).result(10).cursor == 2


def test_a_cancelled_heartbeat_is_not_answered():
    gate = Gate()
    gate.cancels = [0, 2]
    futures = send_behind(gate, [heartbeat(number) for number in range(4)])
    assert [future.cancelled() for future in futures] == [True, False, True, False]
    assert outcomes(futures[1::2]) == [1, 3]
    assert gate.sizes == [1] * AT_ONCE + [2]


def test_a_heartbeat_is_not_retried_when_its_replica_has_given_up(monkeypatch):
    monkeypatch.setattr(heartbeat_queue, "_PATIENCE_S", 0)
    error = DeadlockDetected("two")
    gate = Gate(r1=error)
    assert outcomes(send_behind(gate, [heartbeat(number) for number in range(3)])) == [error] * 3
    assert gate.sizes == [1] * AT_ONCE + [3]


class LockedRow:
    """Answers transactions; those of some replicas wait for a row until it is unlocked, or for their timeout."""

    def __init__(self, replicas):
        self.replicas = {f"{number:032x}" for number in replicas}
        self.batches = []
        self.unlocked = Event()

    def __call__(self, connection, received, lock_timeout_ms):
        found = {one.message.replica for one in received}
        self.batches.append({int(replica, 16) for replica in found})
        if found & self.replicas and not self.unlocked.wait(10 if lock_timeout_ms > 500 else 0):
            raise LockNotAvailable
        return [answered(one) for one in received]


def test_heartbeats_that_wait_for_a_locked_row_hold_up_no_others():
    row = LockedRow(range(30))
    queue = HeartbeatQueue(connect, row)
    blocked = [queue.submit(heartbeat(number)) for number in range(30)]
    assert queue.submit(heartbeat(50)).result(5).cursor == 50
    row.unlocked.set()
    assert outcomes(blocked) == list(range(30))


def test_a_blocked_replica_is_answered_apart_until_its_row_is_unlocked():
    row = LockedRow([1])
    queue = HeartbeatQueue(connect, row)
    waiting = [queue.submit(heartbeat(1))]
    until(lambda: len(row.batches) == 3)  # together, alone, and with patience
    waiting += [queue.submit(heartbeat(1)) for _ in range(3)]
    waiting[2].cancel()
    row.unlocked.set()
    assert outcomes([waiting[0], waiting[1], waiting[3]]) == [1, 1, 1]
    row.unlocked.clear()
    assert queue.submit(heartbeat(2)).result(5).cursor == 2
    after = len(row.batches)
    waiting = queue.submit(heartbeat(1))  # which is answered with others again, until it meets a locked row
    until(lambda: len(row.batches) == after + 3)
    row.unlocked.set()
    assert outcomes([waiting]) == [1]


def test_blocked_replicas_are_answered_together_once_a_row_is_unlocked():
    row = LockedRow(range(10))
    queue = HeartbeatQueue(connect, row)
    first = [queue.submit(heartbeat(number)) for number in range(10)]
    until(lambda: sum(len(batch) == 1 for batch in row.batches) >= 10 + heartbeat_queue._BLOCKED)
    waiting = [queue.submit(heartbeat(number)) for number in range(10)]
    before = len(row.batches)
    row.unlocked.set()
    assert outcomes(first + waiting) == [*range(10)] * 2
    assert max(map(len, row.batches[before:])) > 1
