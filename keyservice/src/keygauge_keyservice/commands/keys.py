"""`keygauge keys`: list, create, rename, rotate, disable, enable, delete."""

from __future__ import annotations

import argparse
import secrets
from datetime import datetime
from typing import get_args

from rich.console import Console
from rich.table import Column, Table

from keygauge.command import Subparsers
from keygauge.key import Environment
from keygauge_keyservice import accounts, config, keys, rotation
from keygauge_keyservice.commands.session import ACTOR, checked_name, connected, told_plainly
from keygauge_keyservice.fields import Fields


def register(subparsers: Subparsers) -> None:
    """Add the commands."""
    parser = subparsers.add_parser("keys", help="list, create and change keys")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    listing = verbs.add_parser("list", help="list an account's keys")
    listing.add_argument("account")
    listing.set_defaults(run=_list)
    create = verbs.add_parser("create", help="issue a key; it is printed this once, alone on standard output")
    create.add_argument("account")
    create.add_argument("name")
    create.add_argument("--environment", choices=get_args(Environment), default="live")
    create.add_argument("--expires-at", type=_moment, help="e.g. 2030-01-31T12:00:00+00:00")
    create.set_defaults(run=_create)
    rename = verbs.add_parser("rename", help="give a key another name")
    rename.add_argument("key")
    rename.add_argument("name")
    rename.set_defaults(run=_rename)
    rotate = verbs.add_parser("rotate", help="give a key another secret; it is printed this once")
    rotate.add_argument("key")
    rotate.add_argument("--grace", type=int, default=0, metavar="SECONDS", help="how long the old secret stays valid")
    rotate.add_argument("--rotation-id", help="repeating a rotation by its id changes nothing; drawn where absent")
    rotate.set_defaults(run=_rotate)
    for name, run, text in (
        ("disable", _disable, "refuse a key, within about a second everywhere"),
        ("enable", _enable, "let a key in again"),
        ("delete", _delete, "delete a key for good"),
    ):
        verb = verbs.add_parser(name, help=text)
        verb.add_argument("key")
        verb.set_defaults(run=run)


def _list(arguments: argparse.Namespace) -> int:
    with connected() as connection:
        accounts.require(connection, arguments.account)
        _show(keys.list_keys(connection, arguments.account))
    return 0


def _create(arguments: argparse.Namespace) -> int:
    name = checked_name(arguments.name)
    with told_plainly():
        peppers = config.peppers()
    with connected() as connection:
        key, token = keys.create(
            connection,
            peppers=peppers,
            account_id=arguments.account,
            name=name,
            environment=arguments.environment,
            expires_at=arguments.expires_at,
            actor=ACTOR,
        )
    Console(stderr=True).print(f"Key {key.id}: copy it now, it is not shown again.", highlight=False)
    print(token)  # noqa: T201 - once, and alone, so that a shell can take it
    return 0


def _rename(arguments: argparse.Namespace) -> int:
    name = checked_name(arguments.name)
    with connected() as connection:
        _show([keys.change(connection, arguments.key, name=name, actor=ACTOR)])
    return 0


def _rotate(arguments: argparse.Namespace) -> int:
    with told_plainly():
        peppers = config.peppers()
        given = Fields({"grace": arguments.grace, "rotation_id": arguments.rotation_id or secrets.token_hex(16)})
        grace_s = given.integer("grace", least=0, most=rotation.GRACE_S_MAX)
        rotation_id = given.slug("rotation_id")
        given.check()
    with connected() as connection:
        done = rotation.rotate(
            connection, arguments.key, peppers=peppers, rotation_id=rotation_id, grace_s=grace_s, actor=ACTOR
        )
    console = Console(stderr=True)
    if done.token is None:
        console.print(f"Rotation {rotation_id} was done before: nothing has changed.", highlight=False)
        return 0
    console.print(f"Key {done.key.id}: copy it now, it is not shown again.", highlight=False)
    print(done.token)  # noqa: T201 - once, and alone, so that a shell can take it
    return 0


def _disable(arguments: argparse.Namespace) -> int:
    with connected() as connection:
        _show([keys.set_status(connection, arguments.key, "disabled", actor=ACTOR)])
    return 0


def _enable(arguments: argparse.Namespace) -> int:
    with connected() as connection:
        _show([keys.set_status(connection, arguments.key, "active", actor=ACTOR)])
    return 0


def _delete(arguments: argparse.Namespace) -> int:
    with connected() as connection:
        _show([keys.delete(connection, arguments.key, actor=ACTOR)])
    return 0


def _show(found: list[keys.Key]) -> None:
    table = Table(Column("key", min_width=12), "name", "environment", "status", "created", "expires", "last used")
    for key in found:
        moments = (key.created_at, key.expires_at, key.last_used_at)
        table.add_row(key.id, key.name, key.environment, key.status, *map(_day, moments))
    Console().print(table)


def _day(moment: datetime | None) -> str:
    return "-" if moment is None else f"{moment:%Y-%m-%d %H:%M}"


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise argparse.ArgumentTypeError(f"add the offset, e.g. {text}+00:00")
    return moment
