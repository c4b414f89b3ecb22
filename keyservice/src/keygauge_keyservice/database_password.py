"""Database passwords that expire, such as IAM tokens, printed by a command of the operator."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from threading import Lock
from typing import NamedTuple

import psycopg

VARIABLE = "KEYGAUGE_DATABASE_PASSWORD_COMMAND"
_FRESH_S = 60.0  # IAM tokens are valid for a quarter of an hour; connections opened together share one
_RENEWED_S = 5.0  # for which a renewed password is used even if that fails too: it is probably not the cause
_TIMEOUT_S = 10.0


class _Printed(NamedTuple):
    command: str
    password: str
    at: float
    is_renewed: bool  # because the one before was refused

    def is_usable(self, command: str, refused: str | None) -> bool:
        """Return whether the command need not run again."""
        age_s = time.monotonic() - self.at
        if self.command != command or age_s >= _FRESH_S:
            return False
        return self.password != refused or (self.is_renewed and age_s < _RENEWED_S)


_lock = Lock()  # one command at a time
_latest: _Printed | None = None


def find(*, after: str | None = None) -> str | None:
    """Return the command's password, or None if no command is set; `after` is a password with which connecting failed.

    Raises:
        psycopg.OperationalError: the command failed; the message omits what it printed.
    """
    global _latest  # noqa: PLW0603 - one per process, like the environment
    command = os.environ.get(VARIABLE)
    if not command:
        return None
    with _lock:
        if _latest is None or not _latest.is_usable(command, after):
            _latest = _Printed(command, _run(command), time.monotonic(), is_renewed=after is not None)
        return _latest.password


def _run(command: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - the operator's own command, without a shell
            shlex.split(command), check=True, capture_output=True, text=True, timeout=_TIMEOUT_S
        )
    except subprocess.CalledProcessError as error:
        raise psycopg.OperationalError(f"{VARIABLE}: the command failed with status {error.returncode}") from None
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise psycopg.OperationalError(f"{VARIABLE}: the command did not run: {type(error).__name__}") from None
    return done.stdout.strip()
