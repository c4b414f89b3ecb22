"""`keygauge migrate`: bring the database to this version's tables, or tell what is missing."""

from __future__ import annotations

import argparse

from keygauge.command import Subparsers
from keygauge_keyservice import config, database
from keygauge_keyservice.commands.output import output
from keygauge_keyservice.commands.session import told_plainly


def register(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser("migrate", help="bring the database to this version's tables; safe to run again")
    parser.add_argument(
        "--show-roles",
        action="store_true",
        help="print statements that make roles with the least privileges, for psql as a superuser, and change nothing",
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
        applied = database.migrate(connection)
    console = output()
    for name in applied:
        console.print(f"applied {name}", highlight=False)
    if not applied:
        console.print("nothing to do")
    return 0


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
