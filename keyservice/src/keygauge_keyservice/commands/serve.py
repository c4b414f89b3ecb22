"""`keygauge serve`: the key service in production form, under gunicorn."""

from __future__ import annotations

import argparse
import errno
import gc
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication

from keygauge.command import CommandError, Subparsers
from keygauge_keyservice import config, database
from keygauge_keyservice.commands.session import told_plainly
from keygauge_keyservice.config import Settings
from keygauge_keyservice.jobs import Job, JobRunner, chores

_THREADS = 8  # no more than the pool has connections
_GRACEFUL_TIMEOUT_S = 10
_KEEP_ALIVE_S = 30  # replicas beat each second on one connection
_ALLOCATIONS_PER_COLLECTION = 50_000  # a batch of events makes as many objects; none of them is part of a cycle
_HANDED_OVER = ("LISTEN_FDS", "GUNICORN_FD")  # the socket is there: from systemd, or from the master we take over from


def register(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser("serve", help="run the key service and its portal")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen at (default: %(default)s)")
    parser.add_argument("--port", type=_port, default=8080, help="the port to listen at (default: %(default)s)")
    parser.add_argument(
        "--workers",
        type=_count,
        default=1,
        help="processes (default: %(default)s, which serves hundreds of replicas; more where one CPU is busy)",
    )
    parser.add_argument("--threads", type=_count, default=_THREADS, help="per process (default: %(default)s)")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    if not any(name in os.environ for name in _HANDED_OVER):
        _require_free(arguments.host, arguments.port)
    with told_plainly():
        todo = chores(retention_days=config.retention_days())
        given = Settings.from_environment()  # starts the embedded database here, once, where there is no other
        with database.connect(given.database_url) as connection:
            database.migrate(connection)
    if given.admin_token_is_new:
        kept = config.data_directory() / "admin_token"
        print(f"Admin token, shown this once and kept in {kept}: {given.admin_token}", file=sys.stderr)  # noqa: T201
    host = f"[{arguments.host}]" if ":" in arguments.host else arguments.host
    options: dict[str, Any] = {
        "bind": f"{host}:{arguments.port}",
        "workers": arguments.workers,
        "threads": arguments.threads,
        "worker_class": "gthread",
        "graceful_timeout": _GRACEFUL_TIMEOUT_S,
        "keepalive": _KEEP_ALIVE_S,
        "proc_name": "keygauge",
        "control_socket_disable": True,
    }
    if arguments.workers > 1:
        options |= _shared_metrics()
    _Server(given, options, todo).run()
    return 0


def _require_free(host: str, port: int) -> None:
    """Say at once what gunicorn would try again and again.

    Raises:
        CommandError: the address cannot be listened at.
    """
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as gunicorn does: closed connections do not count
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                cause, way_out = "is taken", "end what listens there, or give another with --port"
            else:
                cause, way_out = f"cannot be listened at ({error.strerror})", "give others with --host and --port"
            raise CommandError(f"port {port} of {host} {cause}: {way_out}") from error


class _Server(BaseApplication):  # type: ignore[misc]  # gunicorn ships no types
    """gunicorn, told by options; each worker makes its own app and threads, so that none crosses the fork."""

    def __init__(self, given: Settings, options: Mapping[str, Any], todo: Sequence[Job]) -> None:
        self._settings = given
        self._chores = todo
        self._options = options
        super().__init__()

    def load_config(self) -> None:
        """Hand the options to gunicorn; older versions do not know all of them."""
        for name, value in self._options.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> Flask:
        """Make a worker's app."""
        from keygauge_keyservice.app import create_app  # noqa: PLC0415 - after PROMETHEUS_MULTIPROC_DIR is set

        JobRunner(self._settings.database_url, self._chores).start()
        app = create_app(self._settings)
        gc.collect()
        gc.freeze()  # what lives as long as the worker is not looked through again and again
        gc.set_threshold(_ALLOCATIONS_PER_COLLECTION)
        return app


def _shared_metrics() -> dict[str, Any]:
    """Let workers count in files of one directory, so that a scrape of any of them sees the sum of all."""
    directory = tempfile.mkdtemp(prefix="keygauge-metrics-")
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = directory

    def forget(_: object, worker: Any) -> None:
        from prometheus_client.multiprocess import mark_process_dead  # noqa: PLC0415 - reads the variable as imported

        mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]  # it ships no types

    return {"child_exit": forget, "on_exit": lambda _: shutil.rmtree(directory, ignore_errors=True)}


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 1 << 16:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: give 1 to 65535")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= 64:  # noqa: PLR2004 - told in the message
        raise argparse.ArgumentTypeError("give 1 to 64")
    return int(text)
