"""The demo's processes, started in order and stopped in reverse: PostgreSQL, the key service, the API, the reaper."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from keygauge_demo.settings import END_USER_HEADER, HOST, DemoError, Settings
from keygauge_demo.stack import port
from keygauge_demo.stack.process import Process
from keygauge_keyservice import config, embedded
from keygauge_keyservice.embedded import EmbeddedError

REAPER_S = 10.0
COLD_KEY_S = "2"  # all processes share one machine, which may be small and busy


class Stack:
    """A context manager that owns the state directory and every process of the demo."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._exit = ExitStack()
        self._reaper: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        with self._exit:  # undone completely if a step fails
            self._exit.enter_context(_lock(self._settings.state))
            for name, number in (("PORTAL", self._settings.port_portal), ("API", self._settings.port_api)):
                self._exit.enter_context(_hold(number, f"DEMO_PORT_{name}"))
            self._exit.callback(self._release_reaper)
            self._exit = self._exit.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exit.close()

    def start_database(self) -> str:
        """Start PostgreSQL and return its address."""
        try:
            server = embedded.start(self._settings.state / "postgresql")
        except EmbeddedError as error:
            raise DemoError(str(error)) from error
        self._exit.callback(server.cleanup)
        pid = server.get_pid()
        if pid:
            self._end_with_demo(pid, signal.SIGINT)  # PostgreSQL's fast shutdown, which does not wait for clients
        return server.get_uri()

    def key_service_settings(self, database_url: str) -> config.Settings:
        """Return the key service's settings, with secrets generated once and kept in the state directory."""
        environ = self._key_service_environ(database_url)
        return config.Settings.from_environment(environ)

    def start_key_service(self, database_url: str) -> Process:
        """Start the key service with its portal, as in production."""
        command = ("-m", "keygauge.cli", "serve", "--host", HOST, "--port", str(self._settings.port_portal))
        return self._start("key service", command, self._key_service_environ(database_url))

    def start_api(self, service_token: str) -> Process:
        """Start the metered API."""
        address = ("--host", HOST, "--port", str(self._settings.port_api))
        command = ("-m", "uvicorn", "--factory", "keygauge_demo.service:create_service", *address, "--no-access-log")
        environ = {
            "KEYGAUGE_SERVICE_URL": self._settings.portal_url,
            "KEYGAUGE_SERVICE_TOKEN": service_token,
            "KEYGAUGE_SPOOL_DIR": str(self._settings.state / "spool"),
            "KEYGAUGE_PROMETHEUS": "1",
            "KEYGAUGE_TAG": f"header:{END_USER_HEADER}",
            "KEYGAUGE_WAIT_S": COLD_KEY_S,
            "OTEL_SERVICE_NAME": "demo-api",
        }
        return self._start("demo API", command, environ)

    def _start(self, name: str, command: Sequence[str], environ: Mapping[str, str]) -> Process:
        log = self._settings.state / "log" / f"{name.replace(' ', '-').lower()}.log"
        process = Process(name, command, log=log, environ=environ)
        self._exit.callback(process.stop)
        self._end_with_demo(process.pid, signal.SIGTERM)
        return process

    def _key_service_environ(self, database_url: str) -> dict[str, str]:
        return {
            "KEYGAUGE_DATA_DIR": str(self._settings.state),
            "KEYGAUGE_DATABASE_URL": database_url,
            "KEYGAUGE_API_URL": f"{self._settings.api_url}/v1/models",
        }

    def _end_with_demo(self, pid: int, number: signal.Signals) -> None:
        if self._reaper is None:
            self._reaper = subprocess.Popen(
                [sys.executable, "-m", "keygauge_demo.stack.reaper"],
                stdin=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        self._send_to_reaper(f"{number.value} {pid}")

    def _release_reaper(self) -> None:
        if self._reaper is None:
            return
        self._send_to_reaper("done")
        self._reaper.communicate(timeout=REAPER_S)

    def _send_to_reaper(self, line: str) -> None:
        if self._reaper and self._reaper.stdin:
            with suppress(BrokenPipeError):  # someone ended the reaper; the demo continues without it
                self._reaper.stdin.write(f"{line}\n")
                self._reaper.stdin.flush()


def _lock(state: Path) -> IO[str]:
    """Lock the state directory for this process; the lock ends with the process, even if it is killed."""
    try:
        state.mkdir(parents=True, exist_ok=True)
        file = (state / "lock").open("w")
    except OSError as error:
        raise DemoError(
            f"{state} cannot be used ({error.strerror}): choose another directory with DEMO_STATE"
        ) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise DemoError(
            f"a demo is running on {state}: stop it, or choose another directory with DEMO_STATE"
        ) from error
    file.write(str(os.getpid()))
    return file


def _hold(number: int, name: str) -> socket.socket:
    try:
        return port.hold(number)
    except OSError as error:
        raise DemoError(
            f"port {number} is taken ({error.strerror}): stop what listens there, or choose another: "
            f"{name}={number + 1} make demo"
        ) from error
