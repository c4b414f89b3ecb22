"""Heartbeats that come while others are being answered wait, and are then answered together in one transaction.

One of the threads that wait answers for all. What fails for all is tried again for each alone, so that one replica's
heartbeat never costs another's its answer.
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
"""Answers heartbeats in a transaction that waits so many milliseconds for a lock; 0: as long as a statement may."""

AT_ONCE = 2  # transactions: while one waits for the disk, another uses the CPU
MOST = 100  # heartbeats in one
_LOCK_TIMEOUT_MS = 300  # replicas wait for 2 s, and who waits for another's row goes on alone
_CONTENDED = (LockNotAvailable, DeadlockDetected, SerializationFailure)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class _Waiting:
    """A heartbeat whose thread waits for its turn: to answer some, to answer this one alone, or to take its answer."""

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
        """Return the answer to a heartbeat, or raise what its transaction failed with."""
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
        """Let the first in line answer, unless enough are at it; each replica has one heartbeat in a transaction."""
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
        except Exception as error:  # noqa: BLE001 - those who wait raise it
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
