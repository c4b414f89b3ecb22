"""A database connection for a command, with expected failures reported in one line."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from msgspec import Struct
from psycopg.errors import DuplicatePreparedStatement, InsufficientPrivilege, InvalidSqlStatementName

from keygauge.command_line.command import CommandError
from keygauge.command_line.count import counted
from keygauge_keyservice import config, database
from keygauge_keyservice.accounts import accounts
from keygauge_keyservice.config import SettingsError
from keygauge_keyservice.database import Connection
from keygauge_keyservice.embedded import EmbeddedError
from keygauge_keyservice.errors import Problem
from keygauge_keyservice.reading import read
from keygauge_keyservice.secret import PepperError
from keygauge_keyservice.values.field_types import Name

ACTOR = "operator"  # anyone who can run commands here


class _Named(Struct):
    name: Name


@contextmanager
def command_errors() -> Iterator[None]:
    """Convert expected failures to `CommandError`."""
    try:
        yield
    except Problem as error:
        raise CommandError(error.detail) from error
    except (SettingsError, EmbeddedError, PepperError) as error:
        raise CommandError(str(error)) from error
    except database.EncodingError as error:
        raise CommandError(str(error)) from error
    except database.UNAVAILABLE as error:
        cause = str(error).partition("\n")[0]
        raise CommandError(f"the database failed ({cause}): {_way_out(error)}") from error


def _way_out(error: Exception) -> str:
    if isinstance(error, DuplicatePreparedStatement | InvalidSqlStatementName):
        return "behind a pooler without prepared statements, set KEYGAUGE_DATABASE_PREPARE=0"
    if isinstance(error, InsufficientPrivilege):
        return "use another role; 'keygauge migrate --show-roles' prints the ones that KeyGauge needs"
    return "check KEYGAUGE_DATABASE_URL"


@contextmanager
def connected(*, autocommit: bool = False) -> Iterator[Connection]:
    """Yield a connection in a transaction or, with `autocommit`, in autocommit mode.

    Raises:
        CommandError: there is no database, migrations are pending, or the operation fails.
    """
    with command_errors(), database.connect(existing_database()) as connection:
        require_tables(connection)
        if autocommit:
            connection.commit()
            connection.autocommit = True
        yield connection


def existing_database() -> str:
    """Return the database's URL; a command in the wrong folder does not create another database there.

    Raises:
        CommandError: no database is configured, and there is none in the data directory.
        SettingsError: KEYGAUGE_DATABASE_URL is invalid.
        EmbeddedError: the embedded PostgreSQL did not start.
    """
    if not os.environ.get("KEYGAUGE_DATABASE_URL") and not config.embedded_directory().exists():
        if os.environ.get("KEYGAUGE_URL"):
            raise CommandError(
                "this needs direct access to the database, which KEYGAUGE_URL does not give: run it where 'keygauge "
                "serve' runs, or set KEYGAUGE_DATABASE_URL as for it"
            )
        raise CommandError(
            f"there is no database in {config.data_directory()}: run this in the folder where 'keygauge serve' runs, "
            "or set KEYGAUGE_DATA_DIR or KEYGAUGE_DATABASE_URL as for it"
        )
    return config.database_url()


def require_tables(connection: Connection) -> None:
    """Require that no migrations are pending.

    Raises:
        CommandError: migrations are pending.
    """
    if missing := database.pending(connection):
        raise CommandError(f"the database lacks {counted(len(missing), 'migration')}: run 'keygauge migrate'")


def checked_name(name: str) -> str:
    """Return a name if the API would accept it.

    Raises:
        CommandError: the name is invalid.
    """
    with command_errors():
        return read(_Named, {"name": name}).name


def require_account(connection: Connection, given: str) -> str:
    """Return the id of an account by its id or name.

    Raises:
        CommandError: there is no such account, or several have this name.
    """
    if (found := accounts.find(connection, given)) is not None:
        return found.id
    named = accounts.list_accounts(connection, name=given, limit=2)
    if len(named) == 1:
        return named[0].id
    raise CommandError(
        f"There is no account {given!r}." if not named else f"Two accounts are named {given!r}: use the id."
    )
