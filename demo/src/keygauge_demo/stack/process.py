"""One child process of the demo: started, awaited, stopped; its output goes to a log file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

from keygauge_demo.settings import DemoError

READY_S = 30.0
STOP_S = 8.0
LOG_TAIL_BYTES = 2000
_LOOK_S = 0.05
_SETTINGS = ("KEYGAUGE_", "OTEL_")


class Process:
    """A child process in its own session, so that Ctrl-C in the terminal reaches only the demo."""

    def __init__(self, name: str, command: Sequence[str], *, log: Path, environ: Mapping[str, str]) -> None:
        self.name = name
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            self._popen = subprocess.Popen(  # noqa: S603 - the demo's own commands
                [sys.executable, *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**_own_environ(), **environ},
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._popen.pid

    @property
    def is_running(self) -> bool:
        """Whether the child is running."""
        return self._popen.poll() is None

    def wait_until_ready(self, url: str, *, timeout_s: float = READY_S) -> None:
        """Wait until the URL answers with 200.

        Raises:
            DemoError: the child died or did not answer in time.
        """
        deadline = time.monotonic() + timeout_s
        while not _answers(url):
            if not self.is_running:
                raise DemoError(f"the {self.name} stopped while starting; the end of {self.log}:\n{self._tail()}")
            if time.monotonic() > deadline:
                raise DemoError(f"the {self.name} did not answer at {url} within {timeout_s:.0f} s: see {self.log}")
            time.sleep(_LOOK_S)

    def stop(self) -> None:
        """Ask the child to exit and wait; kill it if it does not."""
        if self.is_running:
            self._popen.terminate()
        try:
            self._popen.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Kill the child and its own children at once, like a crash."""
        if self.is_running:
            os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait()

    def _tail(self) -> str:
        return self.log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace").strip()


def _own_environ() -> dict[str, str]:
    """Return our environment without KeyGauge's settings: exported ones belong to another service."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_SETTINGS)}


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - the demo's own loopback address
            return bool(answer.status == 200)  # noqa: PLR2004 - OK
    except (urllib.error.URLError, OSError):
        return False
