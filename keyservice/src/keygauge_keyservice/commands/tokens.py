"""`keygauge tokens`: list, create and delete the bearer tokens of services, operators, Prometheus and accounts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import get_args

import click

from keygauge.command_line.command import CommandError, Noun
from keygauge_keyservice.accounts import tokens as bearer_tokens
from keygauge_keyservice.commands.connection.client import Api
from keygauge_keyservice.commands.terminal.name_columns import Names, named
from keygauge_keyservice.commands.terminal.names import account_id, find_among
from keygauge_keyservice.commands.terminal.options import Time, account_option, most_option, sort_option, verb
from keygauge_keyservice.commands.terminal.output import Column, Output, column, parse_time, time

_DETAILS = (
    *(column(name) for name in ("name", "scope")),
    *(time(name) for name in ("created_at", "expires_at", "revoked_at", "last_used_at")),
)


def _columns(api: Api, output: Output) -> tuple[Column, ...]:
    account = named(Names(api, "accounts"), output, "account", lambda token: token["account"])
    return (column("id", "token"), column("kind"), *account, *_DETAILS)


@click.group(cls=Noun)
def tokens() -> None:
    """Manage tokens of services, operators, Prometheus and accounts."""


@verb(tokens, "list", examples=("keygauge tokens list --valid", "keygauge tokens list --account Acme"))
@account_option("Only this account's tokens.")
@click.option("--kind", type=click.Choice(get_args(bearer_tokens.Kind)), help="Only tokens of this kind.")
@click.option("--name", help="Only tokens with this name.")
@click.option("--valid", "is_valid", is_flag=True, help="Leave out revoked and expired ones.")
@sort_option(*bearer_tokens.SORTS, default="id")
@most_option()
def _list(
    *,
    api: Api,
    output: Output,
    account: str | None,
    kind: str | None,
    name: str | None,
    is_valid: bool,
    sort: str,
    most: int | None,
) -> None:
    """List tokens, including revoked and expired ones."""
    chosen = {"account": account_id(api, account), "kind": kind, "name": name, "sort": sort}
    found = api.all("tokens", field="tokens", most=most, status="valid" if is_valid else None, **chosen)
    output.items("tokens", found, _columns(api, output))


@verb(
    tokens,
    "create",
    examples=(
        "keygauge tokens create shop --kind service",
        "keygauge tokens create ci --kind admin --scope read --expires-at 90d",
        "keygauge tokens create reports --kind account --account Acme",
    ),
)
@click.argument("name")
@click.option(
    "--kind",
    type=click.Choice(get_args(bearer_tokens.Kind)),
    required=True,
    help="Who uses it: a metered service, an operator (admin), Prometheus (metrics) or a customer (account).",
)
@click.option(
    "--scope",
    type=click.Choice(get_args(bearer_tokens.Scope)),
    help="What it may do. Kind admin: all (default), keys, billing or read; kind account: read (default) or manage.",
)
@account_option("The account of a token of kind account.")
@click.option("--expires-at", type=Time(), help="Expiry, e.g. 2030-01-31, or 90d from now.")
def _create(
    *, api: Api, output: Output, name: str, kind: str, scope: str | None, account: str | None, expires_at: str | None
) -> None:
    """Create a token. It is printed once, alone on standard output.

    NAME is the service or the actor; several tokens may share it, such as two during a rotation.
    """
    if expires_at and parse_time(expires_at) <= datetime.now(UTC):  # type: ignore[operator]  # it is one
        raise CommandError(f"--expires-at {expires_at} is in the past: the token could never be used")
    given = {"kind": kind, "name": name, "account": account_id(api, account), "scope": scope, "expires_at": expires_at}
    made = api.post("tokens", body={field: value for field, value in given.items() if value is not None})
    if output.form == "json" and not output.is_quiet:
        output.document(made)
        return
    output.note(f"Token {made['name']} ({made['id']}): copy it now, it is not shown again.")
    click.echo(made["secret"])  # alone, so that a shell can capture it


@verb(tokens, "delete", examples=("keygauge tokens delete 3kTMd8Zr0aBc",))
@click.argument("token", metavar="ID|NAME")
def _delete(*, api: Api, output: Output, token: str) -> None:
    """Revoke a token everywhere within two seconds."""
    valid = [one for one in api.all("tokens", field="tokens") if one["revoked_at"] is None or one["id"] == token]
    found = find_among("token", token, valid)
    api.delete("tokens", found["id"])
    output.note(f"Revoked token {found['name']} ({found['id']}).")
