"""A queue of heartbeats that arrive while others are being answered; they are answered together in one transaction.

If the transaction fails, each heartbeat is retried alone, so that one replica's never makes another's fail; if the
database is unavailable, all fail at once. Those that meet a locked row wait for it apart, in threads of their own, and
so do their replicas' next ones until one of them is answered, so that the others do not wait for that row.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock
from time import monotonic
from typing import TypeAlias

from psycopg.errors import DeadlockDetected, LockNotAvailable, SerializationFailure

from keygauge.protocol import HeartbeatAnswer
from keygauge_keyservice.database import UNAVAILABLE, Connect, Connection
from keygauge_keyservice.sync.heartbeat import Received

Answer: TypeAlias = Callable[[Connection, Sequence[Received], int], list[HeartbeatAnswer]]
"""Answers heartbeats in a transaction with a lock timeout in milliseconds."""

AT_ONCE = 2  # transactions: while one waits for the disk, the other uses the CPU
MOST = 100  # heartbeats per transaction
_LOCK_TIMEOUT_MS = 500  # after which each heartbeat is answered alone, …
_ALONE_TIMEOUT_MS = 20  # … with this one, so that a hundred take a second at most, …
_BLOCKED_TIMEOUT_MS = 600  # … and with this one if a row is locked
_ALONE = 4  # transactions of single heartbeats
_BLOCKED = 2  # … that wait for a locked row
_KNOWN_MAX = 10_000  # blocked replicas
_PATIENCE_S = 2.0  # of replicas
_CONTENDED = (LockNotAvailable, DeadlockDetected, SerializationFailure)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class _Waiting:
    received: Received
    answer: Future[HeartbeatAnswer] = field(default_factory=Future)
    since_s: float = field(default_factory=monotonic)

    @property
    def replica(self) -> tuple[str | None, str]:
        return self.received.service, self.received.message.replica


class HeartbeatQueue:
    """Answers the heartbeats of one process in threads of its own."""

    def __init__(self, connect: Connect, answer: Answer) -> None:
        self._connect = connect
        self._answer = answer
        self._lock = Lock()
        self._line: list[_Waiting] = []
        self._running = 0
        self._together = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="heartbeats")
        self._alone = ThreadPoolExecutor(_ALONE, thread_name_prefix="heartbeat")
        self._apart = ThreadPoolExecutor(_BLOCKED, thread_name_prefix="blocked-heartbeat")
        self._line_apart: deque[_Waiting] = deque()
        self._running_apart = 0
        self._blocked: set[tuple[str | None, str]] = set()  # replicas whose last heartbeat met a locked row

    def submit(self, received: Received) -> Future[HeartbeatAnswer]:
        """Return a heartbeat's future answer, or its transaction's error; cancel it if nobody waits any more."""
        one = _Waiting(received)
        with self._lock:
            if one.replica in self._blocked:
                self._put_apart(one)
            else:
                self._put(one)
        return one.answer

    def _put(self, one: _Waiting) -> None:
        self._line.append(one)
        if self._running < AT_ONCE:
            self._running += 1
            self._together.submit(self._run)

    def _put_apart(self, one: _Waiting) -> None:
        self._line_apart.append(one)
        if self._running_apart < _BLOCKED:
            self._running_apart += 1
            self._apart.submit(self._run_apart)

    def _run(self) -> None:
        """Answer heartbeats until none waits."""
        while batch := self._take():
            self._answer_together(batch)

    def _take(self) -> list[_Waiting]:
        """Take heartbeats from the queue, one per replica, without those that were cancelled."""
        batch: dict[str, _Waiting] = {}
        with self._lock:
            rest = []
            for one in self._line:
                replica = one.received.message.replica
                if replica in batch or len(batch) >= MOST:
                    rest.append(one)
                elif one.answer.set_running_or_notify_cancel():
                    batch[replica] = one
            self._line = rest
            if not batch:
                self._running -= 1
        return list(batch.values())

    def _answer_together(self, batch: Sequence[_Waiting]) -> None:
        try:
            answers = self._transact([one.received for one in batch], _LOCK_TIMEOUT_MS)
        except Exception as error:  # noqa: BLE001 - those who wait for the answers get it
            if isinstance(error, _CONTENDED) or (len(batch) > 1 and not isinstance(error, UNAVAILABLE)):
                _log.warning("%d heartbeats are answered one by one: %s", len(batch), type(error).__name__)
                for one in batch:
                    self._alone.submit(self._answer_alone, one, error)
            else:
                for one in batch:
                    one.answer.set_exception(error)
            return
        for one, answer in zip(batch, answers, strict=True):
            one.answer.set_result(answer)

    def _answer_alone(self, one: _Waiting, error: Exception) -> None:
        """Retry a heartbeat, unless its replica has given up; if it meets a locked row, elsewhere."""
        try:
            self._retry(one, error, _ALONE_TIMEOUT_MS)
        except LockNotAvailable:
            with self._lock:
                if len(self._blocked) >= _KNOWN_MAX:
                    self._blocked.clear()
                self._blocked.add(one.replica)
                self._put_apart(one)

    def _run_apart(self) -> None:
        """Answer heartbeats of blocked replicas until none waits."""
        while one := self._take_apart():
            try:
                is_answered = self._retry(one, LockNotAvailable("a row is locked"), _BLOCKED_TIMEOUT_MS)
            except LockNotAvailable as locked:
                one.answer.set_exception(locked)
            else:
                if is_answered:
                    self._unblock()

    def _take_apart(self) -> _Waiting | None:
        with self._lock:
            while self._line_apart:
                one = self._line_apart.popleft()
                if one.answer.running() or one.answer.set_running_or_notify_cancel():
                    return one
            self._running_apart -= 1
        return None

    def _unblock(self) -> None:
        """Answer heartbeats together again, as the row is no longer locked; if another is, they meet it."""
        with self._lock:
            self._blocked.clear()
            waiting, self._line_apart = self._line_apart, deque()
            for one in waiting:
                if one.answer.running():  # it was taken from the other queue before
                    self._line_apart.append(one)
                else:
                    self._put(one)

    def _retry(self, one: _Waiting, error: Exception, lock_timeout_ms: int) -> bool:
        """Answer a heartbeat alone, or with `error` if its replica has given up; return whether it was processed.

        Raises:
            LockNotAvailable: it met a locked row.
        """
        if monotonic() - one.since_s > _PATIENCE_S:
            one.answer.set_exception(error)
            return False
        try:
            (answer,) = self._transact([one.received], lock_timeout_ms)
        except LockNotAvailable:
            raise
        except Exception as again:  # noqa: BLE001 - those who wait for the answer get it
            one.answer.set_exception(again)
            return False
        one.answer.set_result(answer)
        return True

    def _transact(self, received: Sequence[Received], lock_timeout_ms: int) -> list[HeartbeatAnswer]:
        with self._connect() as connection:
            return self._answer(connection, received, lock_timeout_ms)
