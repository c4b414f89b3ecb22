"""`keygauge migrate`: bring the database to this version's tables."""

from __future__ import annotations

import click

from keygauge.command import Verb
from keygauge_keyservice import config, database
from keygauge_keyservice.commands.session import told_plainly


@click.command(
    cls=Verb,
    examples=("KEYGAUGE_DATABASE_URL=postgresql://… keygauge migrate", "keygauge migrate --show-roles | psql …"),
)
@click.option(
    "--show-roles",
    is_flag=True,
    help="Print statements that make roles with the least privileges, for psql as a superuser, and change nothing.",
)
def migrate(*, show_roles: bool) -> None:
    """Bring the database to this version's tables; safe to run again."""
    if show_roles:
        click.echo(database.roles(), nl=False)
        return
    with told_plainly(), database.connect(config.database_url()) as connection:
        applied = database.migrate(connection)
    for name in applied:
        click.echo(f"applied {name}")
    if not applied:
        click.echo("nothing to do")
