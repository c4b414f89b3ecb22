"""`keygauge migrate`: migrate the database to this version, or list pending migrations."""

from __future__ import annotations

import click

from keygauge.command_line.command import CommandError, Verb
from keygauge_keyservice import citus, config, database
from keygauge_keyservice.commands.connection.session import command_errors
from keygauge_keyservice.database import Connection

_SHARDS_MAX = 4_096


@click.command(
    cls=Verb,
    examples=(
        "KEYGAUGE_DATABASE_URL=postgresql://… keygauge migrate",
        "keygauge migrate --check",
        "keygauge migrate --show-roles | psql …",
    ),
)
@click.option(
    "--show-roles",
    is_flag=True,
    help="Print SQL that creates least-privilege roles, to run with psql as a superuser; change nothing.",
)
@click.option(
    "--citus",
    "shards",
    is_flag=False,
    flag_value=citus.SHARDS,
    type=click.IntRange(1, _SHARDS_MAX),
    metavar="[SHARDS]",
    help="Also distribute the ledger over Citus workers by account, into this many shards: four for each of their "
    f"cores (default: {citus.SHARDS}).",
)
@click.option("--check", is_flag=True, help="Change nothing; list pending migrations and exit with 1 if there are any.")
def migrate(*, show_roles: bool, shards: int | None, check: bool) -> int:
    """Migrate the database to this version's tables; safe to run again."""
    if show_roles:
        click.echo(database.roles(), nl=False)
        return 0
    if check:
        return _check()
    with command_errors(), database.connect(config.database_url()) as connection:
        applied = [f"applied {name}" for name in database.migrate(connection)]
        if shards:
            applied += _distribute(connection, shards)
    for line in applied or ["nothing to do"]:
        click.echo(line)
    return 0


def _distribute(connection: Connection, shards: int) -> list[str]:
    try:
        distributed = [f"distributed {name}" for name in citus.distribute(connection, shards=shards)]
    except citus.CitusError as error:
        raise CommandError(str(error)) from error
    return [*distributed, *(f"note: {complaint}" for complaint in citus.complaints(connection))]


def _check() -> int:
    with command_errors(), database.connect(config.database_url()) as connection:
        missing = database.pending(connection)
        newer = database.newer(connection)
    for name in missing:
        click.echo(f"pending {name}")
    for name in newer:
        click.echo(f"newer {name}: from a newer version than this one")
    if not missing and not newer:
        click.echo("nothing to do")
    return 1 if missing else 0
