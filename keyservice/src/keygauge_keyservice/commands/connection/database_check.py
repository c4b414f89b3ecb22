"""`keygauge doctor` on a host of the key service: checks of its database."""

from __future__ import annotations

import os
from collections.abc import Iterator

from keygauge.command_line.command import CommandError
from keygauge_keyservice import citus, config, database
from keygauge_keyservice.commands.connection.session import command_errors, require_tables


def examine() -> Iterator[tuple[bool, str]]:
    """Check the database of KEYGAUGE_DATABASE_URL, if that is set; yield whether it is good, and a sentence."""
    if not os.environ.get("KEYGAUGE_DATABASE_URL"):
        return
    try:
        with command_errors(), database.connect(config.database_url()) as connection:
            require_tables(connection)
            complaints = citus.complaints(connection)
    except CommandError as error:
        yield False, str(error)
        return
    yield True, "the database has all tables of this version"
    for complaint in complaints:
        yield False, f"Citus: {complaint}"
