"""`keygauge serve`: the key service in production form."""

from __future__ import annotations

import argparse
import errno
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from keygauge.command import CommandError, Subparsers
from keygauge_keyservice import config, database
from keygauge_keyservice.commands.session import told_plainly
from keygauge_keyservice.config import Settings
from keygauge_keyservice.serving.supervisor import Group, StartError, Supervisor

_THREADS = 8  # no more than the pool has connections
_BACKLOG = 2048
_FIRST_INHERITED = 3  # systemd's socket activation, sd_listen_fds(3)


def register(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "serve",
        help="run the key service and its portal",
        description="Run the key service and its portal. SIGHUP starts new workers, with the code that is installed "
        "then, and ends the old ones once those are ready: no request is refused.",
    )
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
    listener = _listen(arguments.host, arguments.port)
    with told_plainly():
        config.retention_days()
        config.notice_worker()
        given = Settings.from_environment()  # starts the embedded database here, once, where there is no other
        with database.connect(given.database_url) as connection:
            database.migrate(connection)
    if given.admin_token_is_new:
        kept = config.data_directory() / "admin_token"
        print(f"Admin token, shown this once and kept in {kept}: {given.admin_token}", file=sys.stderr)  # noqa: T201
    environ = os.environ | {"KEYGAUGE_DATABASE_URL": given.database_url}
    with _shared_metrics() as directory:
        groups = [Group("api", arguments.workers, arguments.threads, [listener])]
        environ["PROMETHEUS_MULTIPROC_DIR"] = directory
        try:
            Supervisor(groups, environ=environ, on_exit=lambda pid: _forget(directory, pid)).run()
        except StartError as error:
            raise CommandError(str(error)) from error
    return 0


def _listen(host: str, port: int) -> socket.socket:
    """Take the socket that systemd hands over, or open one; this comes first, so that a taken port changes nothing.

    Raises:
        CommandError: the address cannot be listened at.
    """
    if os.environ.get("LISTEN_PID") == str(os.getpid()) and os.environ.get("LISTEN_FDS"):
        return socket.socket(fileno=_FIRST_INHERITED)
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # closed connections do not count
    try:
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            cause, way_out = "is taken", "end what listens there, or give another with --port"
        else:
            cause, way_out = f"cannot be listened at ({error.strerror})", "give others with --host and --port"
        raise CommandError(f"port {port} of {host} {cause}: {way_out}") from error
    return listener


@contextmanager
def _shared_metrics() -> Iterator[str]:
    """Let workers count in files of one directory, so that a scrape of any of them sees the sum of all."""
    directory = tempfile.mkdtemp(prefix="keygauge-metrics-")
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _forget(directory: str, pid: int) -> None:
    from prometheus_client.multiprocess import mark_process_dead  # noqa: PLC0415 - it looks for the variable

    mark_process_dead(pid, directory)  # type: ignore[no-untyped-call]  # it ships no types


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 1 << 16:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: give 1 to 65535")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= 64:  # noqa: PLR2004 - told in the message
        raise argparse.ArgumentTypeError("give 1 to 64")
    return int(text)
