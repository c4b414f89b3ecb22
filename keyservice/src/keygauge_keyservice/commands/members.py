"""`keygauge members`: list, create, set a password."""

from __future__ import annotations

import argparse
import secrets
import sys
from getpass import getpass
from typing import get_args

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from keygauge.command import CommandError, Subparsers
from keygauge_keyservice.accounts import members
from keygauge_keyservice.commands.output import output
from keygauge_keyservice.commands.session import ACTOR, connected

_GENERATED_BYTES = 15  # 20 characters


def register(subparsers: Subparsers) -> None:
    """Add the commands."""
    parser = subparsers.add_parser("members", help="list and create those who may sign in to the portal")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    listing = verbs.add_parser("list", help="list an account's members")
    listing.add_argument("--account", help="none for the operators")
    listing.set_defaults(run=_list)
    create = verbs.add_parser("create", help="let a person sign in to an account's portal")
    create.add_argument("--account", help="none for an operator")
    create.add_argument("--email", required=True)
    create.add_argument("--role", choices=get_args(members.AnyRole), default="owner")
    create.set_defaults(run=_create)
    change = verbs.add_parser("set-password", help="give a member another password and end all sessions of theirs")
    change.add_argument("--email", required=True)
    change.set_defaults(run=_set_password)
    for verb in (create, change):
        verb.add_argument(
            "--generate",
            action="store_true",
            help="generate the password; it is printed this once, alone on standard output. Without this it is asked "
            "for, or read from standard input where that is no terminal",
        )


def _list(arguments: argparse.Namespace) -> int:
    with connected() as connection:
        found = members.list_members(connection, arguments.account)
    table = Table(Column("e-mail address", min_width=16), "role")
    for member in found:
        table.add_row(escape(member.email), member.role)
    output().print(table)
    return 0


def _create(arguments: argparse.Namespace) -> int:
    password = _password(generate=arguments.generate)
    with connected() as connection:
        member = members.create(
            connection,
            account_id=arguments.account,
            email=arguments.email,
            password=password,
            role=arguments.role,
            actor=ACTOR,
        )
    where = f"account {member.account_id}" if member.account_id else "every account"
    _tell(f"{member.email} may sign in to {where} as {member.role}.")
    return _show(password, generate=arguments.generate)


def _set_password(arguments: argparse.Namespace) -> int:
    password = _password(generate=arguments.generate)
    with connected() as connection:
        member = members.set_password(connection, arguments.email, password, actor=ACTOR)
    _tell(f"{member.email} has another password; all sessions have ended.")
    return _show(password, generate=arguments.generate)


def _password(*, generate: bool) -> str:
    if generate:
        return secrets.token_urlsafe(_GENERATED_BYTES)
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password = getpass("Password: ")
    if getpass("Again: ") != password:
        raise CommandError("the two passwords are not the same")
    return password


def _show(password: str, *, generate: bool) -> int:
    if generate:
        _tell("This is the password: copy it now, it is not shown again.")
        print(password)  # noqa: T201 - once, and alone, so that a shell can take it
    return 0


def _tell(text: str) -> None:
    Console(stderr=True).print(text, highlight=False, markup=False)
