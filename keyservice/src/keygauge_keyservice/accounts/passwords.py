"""Password hashing with argon2id, limited in concurrency, and rejection of passwords that are easy to guess."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import Lock, Semaphore

from argon2 import PasswordHasher
from argon2.exceptions import VerificationError

from keygauge_keyservice.errors import FieldError, Problem
from keygauge_keyservice.texts import gettext

LENGTH_MIN = 12
LENGTH_MAX = 1024  # hashing time grows with the length
_SCORE_MIN = 2  # zxcvbn score: more than a million guesses; the ten thousand most common passwords score less
_SCORED_LENGTH_MAX = 40  # scoring time grows with the length too
_LINE_MAX = 4  # fewer than the threads of a process
_TURN_S = 10.0

_hasher = PasswordHasher()  # argon2id with the parameters of RFC 9106


class Line:
    """A bounded queue for hashing, since each hash occupies a CPU and 64 MiB; requests beyond it are rejected."""

    def __init__(self, *, at_once: int, line_max: int = _LINE_MAX, turn_s: float = _TURN_S) -> None:
        self._turns = Semaphore(at_once)
        self._turn_s = turn_s
        self._inside_max = at_once + line_max
        self._inside = 0
        self._lock = Lock()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for a turn.

        Raises:
            Problem: 503 if the queue is full, or the wait took too long.
        """
        with self._lock:
            is_admitted = self._inside < self._inside_max
            self._inside += is_admitted
        if not is_admitted:
            raise _busy()
        try:
            if not self._turns.acquire(timeout=self._turn_s):
                raise _busy()
            try:
                yield
            finally:
                self._turns.release()
        finally:
            with self._lock:
                self._inside -= 1


_line = Line(at_once=max(1, (os.cpu_count() or 1) // 2))


def hash_password(password: str) -> str:
    """Hash a password with argon2id, which is slow by design.

    Raises:
        Problem: 503 if too many passwords are being hashed.
    """
    with _line.turn():
        return _hasher.hash(password)


def verify(password_hash: str | None, password: str) -> bool:
    """Return whether a password matches its hash; without a hash return False after the same time.

    Raises:
        Problem: 503 if too many passwords are being hashed.
    """
    with _line.turn():
        dummy_hash = _dummy_hash()  # created on the first call, whether or not it is needed
        try:
            _hasher.verify(password_hash or dummy_hash, password)
        except VerificationError:
            return False
        return password_hash is not None


def errors(password: str, email: str = "") -> list[FieldError]:
    """Return the errors of a new password; the member's own address is easy to guess."""
    from zxcvbn import zxcvbn  # noqa: PLC0415 - slow to load, and few commands and requests need it

    if not LENGTH_MIN <= len(password) <= LENGTH_MAX:
        return [
            FieldError(
                "password",
                "bad_length",
                gettext("must have %(least)s to %(most)s characters", least=LENGTH_MIN, most=LENGTH_MAX),
            )
        ]
    if zxcvbn(password[:_SCORED_LENGTH_MAX], [email[:_SCORED_LENGTH_MAX]])["score"] < _SCORE_MIN:
        return [FieldError("password", "too_common", gettext("is easy to guess: use a few unrelated words"))]
    return []


def _busy() -> Problem:
    detail = gettext("Too many people are signing in right now. Try again in a few seconds.")
    return Problem(503, "busy", detail, headers={"Retry-After": "3"})


@cache
def _dummy_hash() -> str:
    return _hasher.hash("no password matches this one, its answer is thrown away")
