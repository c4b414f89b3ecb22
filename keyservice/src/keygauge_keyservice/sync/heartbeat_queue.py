"""A queue of heartbeats that arrive while others are being answered; they are answered together in one transaction.

One of the waiting threads answers for all. If the transaction fails, each heartbeat is retried alone, so that one
replica's never makes another's fail; if the database is unavailable, all fail at once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue
from threading import Lock
from typing import TypeAlias

from psycopg.errors import DeadlockDetected, LockNotAvailable, SerializationFailure

from keygauge.protocol import HeartbeatAnswer
from keygauge_keyservice.database import UNAVAILABLE, Connect, Connection
from keygauge_keyservice.sync.heartbeat import Received

Answer: TypeAlias = Callable[[Connection, Sequence[Received], int], list[HeartbeatAnswer]]
"""Answers heartbeats in a transaction with a lock timeout in milliseconds; 0 for the timeout of statements."""

AT_ONCE = 2  # transactions: while one waits for the disk, the other uses the CPU
MOST = 100  # heartbeats per transaction
_LOCK_TIMEOUT_MS = 300  # replicas wait for 2 s; after a lock timeout, each heartbeat is answered alone
_CONTENDED = (LockNotAvailable, DeadlockDetected, SerializationFailure)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class _Waiting:
    """A heartbeat whose thread waits for a turn: a batch to answer, None to answer it alone, or its answer or error."""

    received: Received
    turns: SimpleQueue[list[_Waiting] | HeartbeatAnswer | Exception | None] = field(default_factory=SimpleQueue)


class HeartbeatQueue:
    """Answers the heartbeats of one process."""

    def __init__(self, connect: Connect, answer: Answer) -> None:
        self._connect = connect
        self._answer = answer
        self._lock = Lock()
        self._line: list[_Waiting] = []
        self._running = 0

    def answer(self, received: Received) -> HeartbeatAnswer:
        """Return the answer to a heartbeat, or raise the error of its transaction."""
        one = _Waiting(received)
        with self._lock:
            self._line.append(one)
            self._start()
        while True:
            turn = one.turns.get()
            if isinstance(turn, HeartbeatAnswer):
                return turn
            if isinstance(turn, Exception):
                raise turn
            if turn is None:
                return self._transact([received], 0)[0]
            self._answer_together(turn)

    def _start(self) -> None:
        """Let the first in the queue answer, unless enough threads do; a batch has one heartbeat per replica."""
        if not self._line or self._running >= AT_ONCE:
            return
        batch: dict[str, _Waiting] = {}
        rest = []
        for one in self._line:
            replica = one.received.message.replica
            if replica in batch or len(batch) >= MOST:
                rest.append(one)
            else:
                batch[replica] = one
        self._line = rest
        self._running += 1
        first, *_ = taken = list(batch.values())
        first.turns.put(taken)

    def _answer_together(self, batch: list[_Waiting]) -> None:
        alone = len(batch) == 1
        turns: Sequence[HeartbeatAnswer | Exception | None]
        try:
            turns = self._transact([one.received for one in batch], 0 if alone else _LOCK_TIMEOUT_MS)
        except Exception as error:  # noqa: BLE001 - the waiting threads raise it
            is_for_all = alone or (isinstance(error, UNAVAILABLE) and not isinstance(error, _CONTENDED))
            if not is_for_all:
                _log.warning("%d heartbeats are answered one by one: %s", len(batch), type(error).__name__)
            turns = [error if is_for_all else None] * len(batch)
        with self._lock:
            self._running -= 1
            self._start()
        for one, turn in zip(batch, turns, strict=True):
            one.turns.put(turn)

    def _transact(self, received: Sequence[Received], lock_timeout_ms: int) -> list[HeartbeatAnswer]:
        with self._connect() as connection:
            return self._answer(connection, received, lock_timeout_ms)
