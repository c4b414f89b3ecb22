"""`keygauge serve`: the key service in production form."""

from __future__ import annotations

import argparse
import errno
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from keygauge.command import CommandError, Subparsers
from keygauge_keyservice import config, database, embedded
from keygauge_keyservice.commands import welcome
from keygauge_keyservice.commands.session import told_plainly
from keygauge_keyservice.config import Settings
from keygauge_keyservice.database import Connection
from keygauge_keyservice.keys import pepper_check
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
        "--replica-address",
        type=_address,
        metavar="HOST:PORT",
        help="serve replicas (heartbeats, events, reports) here and only here, such as at a private address; "
        "without it they share the other one, though neither processes nor database connections",
    )
    parser.add_argument(
        "--workers",
        type=_count,
        default=1,
        help="processes for replicas, and as many for pages and API (default: %(default)s, which serves a thousand "
        "replicas; more where one CPU is busy)",
    )
    parser.add_argument("--show-admin-token", action="store_true", help="print the admin token when it is generated")
    parser.add_argument("--threads", type=_count, default=_THREADS, help="per process (default: %(default)s)")
    parser.add_argument(
        "--read-only",
        action="store_true",
        help="show pages and reports from a standby of the database; replicas and changes are refused",
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    with ExitStack() as opened:
        listener = opened.enter_context(_inherited() or _listen(arguments.host, arguments.port))
        private = opened.enter_context(_listen(*arguments.replica_address)) if arguments.replica_address else None
        return _serve(arguments, listener, private)


def _serve(arguments: argparse.Namespace, listener: socket.socket, private: socket.socket | None) -> int:
    with told_plainly():
        config.retention_days()
        config.notice_worker()
        given = Settings.from_environment()  # starts the embedded database here, once, where there is no other
        with database.connect(given.database_url) as connection:
            if arguments.read_only:
                _require_tables(connection)
            else:
                database.migrate(connection)
                pepper_check.check(connection, given.peppers)
    if given.admin_token_is_new:
        shown = f": {given.admin_token}" if arguments.show_admin_token else ""  # logs are read by many
        print(f"A new admin token is in {config.data_directory() / 'admin_token'}{shown}", file=sys.stderr)  # noqa: T201
    environ = os.environ | {"KEYGAUGE_DATABASE_URL": given.database_url}
    if arguments.read_only:
        environ["KEYGAUGE_READ_ONLY"] = "1"
    with _passing_directory() as directory:
        environ["PROMETHEUS_MULTIPROC_DIR"] = str(directory)  # workers count in files: each scrape sees the sum of all
        groups = _groups(arguments, listener, private, directory)
        try:
            Supervisor(
                groups,
                environ=environ,
                on_ready=lambda: welcome.tell(given, host=arguments.host, port=arguments.port),
                on_exit=lambda pid: _forget(directory, pid),
                on_turn=_database_watch(),
            ).run()
        except StartError as error:
            raise CommandError(str(error)) from error
    return 0


def _require_tables(connection: Connection) -> None:
    if missing := database.pending(connection):
        raise CommandError(f"the database lacks {len(missing)} migrations: run 'keygauge migrate' on the primary")


def _groups(
    arguments: argparse.Namespace, public: socket.socket, private: socket.socket | None, directory: Path
) -> list[Group]:
    """Say which processes listen where: those of replicas hand on the rest, or have an address of their own."""
    workers, threads = arguments.workers, arguments.threads
    if private:
        return [Group("replicas", workers, threads, [private]), Group("pages", workers, threads, [public])]
    path = directory / "pages.sock"
    local = socket.socket(socket.AF_UNIX)
    local.bind(str(path))
    local.listen(_BACKLOG)
    return [Group("replicas", workers, threads, [public], pages=str(path)), Group("pages", workers, threads, [local])]


def _database_watch() -> Callable[[], None]:
    """Return what starts the embedded PostgreSQL anew where it was killed; nothing where it is another's."""
    if os.environ.get("KEYGAUGE_DATABASE_URL"):
        return lambda: None
    return embedded.Watch(config.embedded_directory()).look


def _inherited() -> socket.socket | None:
    """Return the socket that systemd hands over, if it does."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or not os.environ.get("LISTEN_FDS"):
        return None
    return socket.socket(fileno=_FIRST_INHERITED)


def _listen(host: str, port: int) -> socket.socket:
    """Open a socket; this comes first, so that a taken port changes nothing.

    Raises:
        CommandError: the address cannot be listened at.
    """
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
def _passing_directory() -> Iterator[Path]:
    """Make a directory that only this user can enter, for as long as the service runs."""
    directory = Path(tempfile.mkdtemp(prefix="keygauge-"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _forget(directory: Path, pid: int) -> None:
    from prometheus_client.multiprocess import mark_process_dead  # noqa: PLC0415 - it looks for the variable

    mark_process_dead(pid, str(directory))  # type: ignore[no-untyped-call]  # it ships no types


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host:
        raise argparse.ArgumentTypeError(f"{text!r} is no address: give HOST:PORT")
    return host.strip("[]"), _port(port)


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 1 << 16:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: give 1 to 65535")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= 64:  # noqa: PLR2004 - told in the message
        raise argparse.ArgumentTypeError("give 1 to 64")
    return int(text)
