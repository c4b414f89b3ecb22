"""`keygauge serve`: run the key service in production."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import click

from keygauge.command_line.command import CommandError, Verb
from keygauge.command_line.count import counted
from keygauge_keyservice import config, database, embedded
from keygauge_keyservice.commands import welcome
from keygauge_keyservice.commands.connection.session import command_errors
from keygauge_keyservice.config import Settings
from keygauge_keyservice.database import Connection
from keygauge_keyservice.keys import pepper_check
from keygauge_keyservice.serving.supervisor import Group, StartError, Supervisor

_THREADS = 8  # at most the size of the connection pool
_BACKLOG = 2048
_COUNT_MAX = 64
_FIRST_INHERITED = 3  # for systemd's socket activation, see sd_listen_fds(3)


class _Address(click.ParamType):  # type: ignore[type-arg]  # generic since Click 8.4
    name = "address"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        """Return host and port."""
        host, _, port = str(value).rpartition(":")
        if not host:
            self.fail(f"{value!r} is not an address: use HOST:PORT", param, ctx)
        return host.strip("[]"), _Port().convert(port, param, ctx)


class _Port(click.ParamType):  # type: ignore[type-arg]  # generic since Click 8.4
    name = "port"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the port."""
        text = str(value)
        if not (text.isascii() and text.isdigit() and 0 < int(text) < 1 << 16):
            self.fail(f"{text!r} is not a port: use 1 to 65535", param, ctx)
        return int(text)


class _Count(click.ParamType):  # type: ignore[type-arg]  # generic since Click 8.4
    name = "count"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the count."""
        text = str(value)
        if not (text.isascii() and text.isdigit() and 0 < int(text) <= _COUNT_MAX):
            self.fail(f"use 1 to {_COUNT_MAX}", param, ctx)
        return int(text)


@click.command(
    cls=Verb,
    examples=(
        "keygauge serve --port 8080",
        "keygauge serve --host 0.0.0.0 --replica-address 10.0.0.5:8081 --workers 2",
    ),
)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=_Port(), default=8080, show_default=True, help="The port to listen on.")
@click.option(
    "--replica-address",
    type=_Address(),
    metavar="HOST:PORT",
    help="Serve replicas (heartbeats, events, reports) on this address only, such as a private one. By default they "
    "use the main address, with processes and database connections of their own.",
)
@click.option(
    "--workers",
    type=_Count(),
    default=1,
    show_default=True,
    help="Processes for replicas, and as many for pages and API. 1 serves a thousand replicas; use more if one "
    "CPU is busy.",
)
@click.option("--show-admin-token", is_flag=True, help="Print the admin token when it is generated.")
@click.option("--threads", type=_Count(), default=_THREADS, show_default=True, help="Threads per process.")
@click.option(
    "--read-only",
    is_flag=True,
    help="Serve pages and reports from a standby database; replicas and changes are refused.",
)
def serve(host: str, port: int, replica_address: tuple[str, int] | None, **given: Any) -> None:
    """Run the key service and its portal.

    SIGHUP starts new workers with the currently installed code and stops the old ones once the new ones are ready,
    without refusing a request.
    """
    with ExitStack() as opened:
        listener = opened.enter_context(_inherited() or _listen(host, port))
        private = opened.enter_context(_listen(*replica_address)) if replica_address else None
        ready = partial(welcome.show, host=host, port=port, replica_address=replica_address)
        _serve(listener, private, on_ready=ready, **given)


def _serve(
    listener: socket.socket,
    private: socket.socket | None,
    *,
    on_ready: Callable[[Settings], None],
    workers: int,
    threads: int,
    show_admin_token: bool,
    read_only: bool,
) -> None:
    with command_errors():
        config.retention_days()
        config.notice_worker()
        given = Settings.from_environment()  # starts the embedded database here, once, if no other is configured
        with database.connect(given.database_url) as connection:
            if read_only:
                _require_tables(connection)
            else:
                database.migrate(connection)
                pepper_check.check(connection, given.peppers)
    if given.admin_token_is_new:
        shown = f": {given.admin_token}" if show_admin_token else ""  # logs are widely readable
        print(f"A new admin token is in {config.data_directory() / 'admin_token'}{shown}", file=sys.stderr)  # noqa: T201
    environ = os.environ | {"KEYGAUGE_DATABASE_URL": given.database_url}
    if read_only:
        environ["KEYGAUGE_READ_ONLY"] = "1"
    with _passing_directory() as directory:
        environ["PROMETHEUS_MULTIPROC_DIR"] = str(directory)  # workers write metrics to files; scrapes sum over them
        groups = _groups(listener, private, directory, workers=workers, threads=threads)
        try:
            Supervisor(
                groups,
                environ=environ,
                on_ready=lambda: on_ready(given),
                on_exit=lambda pid: _forget(directory, pid),
                on_turn=_database_watch(),
            ).run()
        except StartError as error:
            raise CommandError(str(error)) from error


def _require_tables(connection: Connection) -> None:
    if missing := database.pending(connection):
        raise CommandError(
            f"the database lacks {counted(len(missing), 'migration')}: run 'keygauge migrate' on the primary"
        )


def _groups(
    public: socket.socket, private: socket.socket | None, directory: Path, *, workers: int, threads: int
) -> list[Group]:
    """Return which processes listen where: the replicas' forward other requests, or have their own address."""
    if private:
        return [Group("replicas", workers, threads, [private]), Group("pages", workers, threads, [public])]
    path = directory / "pages.sock"
    local = socket.socket(socket.AF_UNIX)
    local.bind(str(path))
    local.listen(_BACKLOG)
    return [Group("replicas", workers, threads, [public], pages=str(path)), Group("pages", workers, threads, [local])]


def _database_watch() -> Callable[[], None]:
    """Return a function that restarts the embedded PostgreSQL if it was killed; no-op for an external database."""
    if os.environ.get("KEYGAUGE_DATABASE_URL"):
        return lambda: None
    return embedded.Watch(config.embedded_directory()).check


def _inherited() -> socket.socket | None:
    """Return the socket that systemd passes, if any."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or not os.environ.get("LISTEN_FDS"):
        return None
    return socket.socket(fileno=_FIRST_INHERITED)


def _listen(host: str, port: int) -> socket.socket:
    """Open a listening socket; this is done first, so that a port in use changes nothing.

    Raises:
        CommandError: the address cannot be opened.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections in TIME_WAIT do not block the port
    try:
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            cause, way_out = "is in use", "stop the process that listens there, or choose another port with --port"
        else:
            cause, way_out = f"cannot be opened ({error.strerror})", "choose others with --host and --port"
        raise CommandError(f"port {port} of {host} {cause}: {way_out}") from error
    return listener


@contextmanager
def _passing_directory() -> Iterator[Path]:
    """Yield a temporary directory that only this user can access; delete it afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="keygauge-"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _forget(directory: Path, pid: int) -> None:
    from prometheus_client.multiprocess import mark_process_dead  # noqa: PLC0415 - it reads the environment variable on import

    mark_process_dead(pid, str(directory))  # type: ignore[no-untyped-call]  # it ships no types
