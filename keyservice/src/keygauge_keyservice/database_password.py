"""Database passwords that expire, such as IAM tokens, printed by a command of the operator."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from threading import Lock

import psycopg

VARIABLE = "KEYGAUGE_DATABASE_PASSWORD_COMMAND"
_FRESH_S = 60.0  # IAM tokens are valid for a quarter of an hour; connections opened together share one
_TIMEOUT_S = 10.0

_lock = Lock()  # one command at a time
_latest: tuple[str, str, float] | None = None  # the command, its password, and when it was printed


def find(*, after: str | None = None) -> str | None:
    """Return the command's password, or None if no command is set; `after` is a password that was refused.

    Raises:
        psycopg.OperationalError: the command failed; the message omits what it printed.
    """
    global _latest  # noqa: PLW0603 - one per process, like the environment
    command = os.environ.get(VARIABLE)
    if not command:
        return None
    with _lock:
        now = time.monotonic()
        is_fresh = _latest is not None and _latest[0] == command and now - _latest[2] < _FRESH_S
        if _latest is None or not is_fresh or _latest[1] == after:
            _latest = (command, _run(command), now)
        return _latest[1]


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
