"""`keygauge migrate`: bring the database to this version's tables, or tell what is missing."""

from __future__ import annotations

import argparse

from keygauge.command import CommandError, Subparsers
from keygauge_keyservice import citus, config, database
from keygauge_keyservice.commands.output import output
from keygauge_keyservice.commands.session import told_plainly
from keygauge_keyservice.database import Connection

_SHARDS_MAX = 4_096


def register(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser("migrate", help="bring the database to this version's tables; safe to run again")
    parser.add_argument(
        "--show-roles",
        action="store_true",
        help="print statements that make roles with the least privileges, for psql as a superuser, and change nothing",
    )
    parser.add_argument(
        "--citus",
        nargs="?",
        type=_shards,
        const=citus.SHARDS,
        metavar="SHARDS",
        help="then spread the ledger over the workers of Citus by account, in so many shards: four for each of the "
        "workers' cores (default: %(const)s)",
    )
    parser.add_argument(
        "--check", action="store_true", help="change nothing; list what would be applied, and exit with 1 if anything"
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    if arguments.show_roles:
        print(database.roles(), end="")  # noqa: T201 - for psql: no console may wrap it
        return 0
    if arguments.check:
        return _check()
    with told_plainly(), database.connect(config.database_url()) as connection:
        applied = [f"applied {name}" for name in database.migrate(connection)]
        if arguments.citus:
            applied += _spread(connection, arguments.citus)
    console = output()
    for line in applied:
        console.print(line, highlight=False)
    if not applied:
        console.print("nothing to do")
    return 0


def _spread(connection: Connection, shards: int) -> list[str]:
    try:
        spread = [f"spread {name}" for name in citus.distribute(connection, shards=shards)]
    except citus.CitusError as error:
        raise CommandError(str(error)) from error
    return [*spread, *(f"note: {complaint}" for complaint in citus.complaints(connection))]


def _shards(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= _SHARDS_MAX:
        raise argparse.ArgumentTypeError(f"give 1 to {_SHARDS_MAX} shards")
    return int(text)


def _check() -> int:
    with told_plainly(), database.connect(config.database_url()) as connection:
        missing = database.pending(connection)
        newer = database.newer(connection)
    console = output()
    for name in missing:
        console.print(f"pending {name}", highlight=False)
    for name in newer:
        console.print(f"newer {name}: of a version that is not installed here", highlight=False)
    if not missing and not newer:
        console.print("nothing to do")
    return 1 if missing else 0
