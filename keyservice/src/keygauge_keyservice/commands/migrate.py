"""`keygauge migrate`: bring the database to this version's tables."""

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
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    if arguments.show_roles:
        print(database.roles(), end="")  # noqa: T201 - for psql: no console may wrap it
        return 0
    with told_plainly(), database.connect(config.database_url()) as connection:
        applied = database.migrate(connection)
    console = output()
    for name in applied:
        console.print(f"applied {name}", highlight=False)
    if not applied:
        console.print("nothing to do")
    return 0
