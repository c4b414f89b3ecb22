"""`keygauge accounts`: list, create, change the plan, suspend, activate."""

from __future__ import annotations

import argparse

from rich.table import Column, Table

from keygauge.command import Subparsers
from keygauge_keyservice.accounts import accounts
from keygauge_keyservice.commands.output import output
from keygauge_keyservice.commands.session import ACTOR, checked_name, connected


def register(subparsers: Subparsers) -> None:
    """Add the commands."""
    parser = subparsers.add_parser("accounts", help="list, create and change accounts")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    verbs.add_parser("list", help="list all accounts").set_defaults(run=_list)
    create = verbs.add_parser("create", help="make an account")
    create.add_argument("name")
    create.add_argument("--plan", required=True)
    create.set_defaults(run=_create)
    change = verbs.add_parser("change-plan", help="put an account on another plan, at once for all of its keys")
    change.add_argument("account")
    change.add_argument("plan")
    change.set_defaults(run=_change_plan)
    for name, status, text in (
        ("suspend", "suspended", "refuse all of an account's keys"),
        ("activate", "active", "let an account's keys in again"),
    ):
        verb = verbs.add_parser(name, help=text)
        verb.add_argument("account")
        verb.set_defaults(run=_set_status, status=status)


def _list(_: argparse.Namespace) -> int:
    with connected() as connection:
        _show(accounts.list_accounts(connection))
    return 0


def _create(arguments: argparse.Namespace) -> int:
    name = checked_name(arguments.name)
    with connected() as connection:
        _show([accounts.create(connection, name=name, plan_id=arguments.plan, actor=ACTOR)])
    return 0


def _change_plan(arguments: argparse.Namespace) -> int:
    with connected() as connection:
        _show([accounts.change_plan(connection, arguments.account, arguments.plan, actor=ACTOR)])
    return 0


def _set_status(arguments: argparse.Namespace) -> int:
    with connected() as connection:
        _show([accounts.set_status(connection, arguments.account, arguments.status, actor=ACTOR)])
    return 0


def _show(found: list[accounts.Account]) -> None:
    table = Table(Column("account", min_width=12), "name", "plan", "status", "created")
    for account in found:
        table.add_row(account.id, account.name, account.plan_id, account.status, f"{account.created_at:%Y-%m-%d}")
    output().print(table)
