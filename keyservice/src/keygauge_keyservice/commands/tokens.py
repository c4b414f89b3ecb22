"""`keygauge tokens`: list, create and revoke the bearer tokens of services, operators and Prometheus."""

from __future__ import annotations

import argparse
from datetime import datetime
from typing import get_args

from rich.console import Console
from rich.table import Column, Table

from keygauge.command import Subparsers
from keygauge_keyservice.accounts import tokens
from keygauge_keyservice.commands.cli_time import moment
from keygauge_keyservice.commands.output import output
from keygauge_keyservice.commands.session import ACTOR, checked_name, connected


def register(subparsers: Subparsers) -> None:
    """Add the commands."""
    parser = subparsers.add_parser(
        "tokens", help="list, create and revoke tokens of services, operators and Prometheus"
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    verbs.add_parser("list", help="list all tokens").set_defaults(run=_list)
    create = verbs.add_parser("create", help="make a token; it is printed this once, alone on standard output")
    create.add_argument("kind", choices=get_args(tokens.Kind))
    create.add_argument(
        "name", help="the service, or who or what acts: many tokens may share it, such as two in a rotation"
    )
    create.add_argument(
        "--scope", choices=get_args(tokens.Scope), default="all", help="what an admin token may change (%(default)s)"
    )
    create.add_argument("--expires-at", type=moment, help="e.g. 2030-01-31T12:00:00+00:00")
    create.set_defaults(run=_create)
    revoke = verbs.add_parser("revoke", help="end a token within two seconds")
    revoke.add_argument("token", help="its id, as `list` tells it")
    revoke.set_defaults(run=_revoke)


def _list(_: argparse.Namespace) -> int:
    with connected() as connection:
        found = tokens.list_tokens(connection)
    table = Table(Column("token", min_width=12), "kind", "name", "scope", "created", "expires", "revoked", "last used")
    for token in sorted(found, key=lambda one: one.created_at):
        moments = (token.created_at, token.expires_at, token.revoked_at, token.last_used_at)
        table.add_row(token.id, token.kind, token.name, token.scope, *map(_day, moments))
    output().print(table)
    return 0


def _create(arguments: argparse.Namespace) -> int:
    name = checked_name(arguments.name)
    with connected() as connection:
        made, secret = tokens.create(
            connection,
            kind=arguments.kind,
            name=name,
            scope=arguments.scope,
            expires_at=arguments.expires_at,
            actor=ACTOR,
        )
    Console(stderr=True).print(f"Token {made.id}: copy it now, it is not shown again.", highlight=False)
    print(secret)  # noqa: T201 - once, and alone, so that a shell can take it
    return 0


def _revoke(arguments: argparse.Namespace) -> int:
    with connected() as connection:
        tokens.revoke(connection, arguments.token, actor=ACTOR)
    return 0


def _day(at: datetime | None) -> str:
    return "-" if at is None else f"{at:%Y-%m-%d %H:%M}"
