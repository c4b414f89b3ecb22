"""`keygauge keys`: list, create, import, rename, change, limit, rotate, disable, enable, delete."""

from __future__ import annotations

import argparse
import secrets
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, get_args

from rich.console import Console
from rich.table import Column, Table

from keygauge.command import Subparsers
from keygauge.key import Environment
from keygauge_keyservice import config
from keygauge_keyservice.accounts import accounts
from keygauge_keyservice.commands import key_import, limits
from keygauge_keyservice.commands.cli_time import moment
from keygauge_keyservice.commands.output import output
from keygauge_keyservice.commands.session import ACTOR, checked_name, connected, told_plainly
from keygauge_keyservice.keys import key_limits, keys, pepper_check, rotation
from keygauge_keyservice.keys.key_terms import KeyTerms, Rotation
from keygauge_keyservice.limits.definitions import Limit
from keygauge_keyservice.reading import given, read

_LISTS = {
    "models": "models it may be used for, e.g. gpt-4o-mini,claude-*",
    "routes": "endpoints it may call, e.g. /v1/chat/completions,/v1/files*",
    "networks": "addresses and networks it may be used from, e.g. 192.0.2.0/24",
    "scopes": "scopes that the app is told, e.g. chat:write",
}


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
    create.add_argument("--expires-at", type=moment, help="e.g. 2030-01-31T12:00:00+00:00")
    _add_terms(create)
    create.set_defaults(run=_create)
    change = verbs.add_parser("change", help="change what a key may be used for; what is not given stays")
    change.add_argument("key")
    _add_terms(change)
    change.set_defaults(run=_change)
    listed = verbs.add_parser("limits", help="list the limits that a key has of its own, beside those of the plan")
    listed.add_argument("key")
    listed.set_defaults(run=_limits)
    set_limits = verbs.add_parser("set-limits", help="replace a key's own limits, at once; without --limit it has none")
    set_limits.add_argument("key")
    limits.add_option(set_limits)
    set_limits.set_defaults(run=_set_limits)
    key_import.add_verb(verbs)
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


def _add_terms(parser: argparse.ArgumentParser) -> None:
    for name, text in _LISTS.items():
        parser.add_argument(f"--{name}", metavar="A,B", help=f"{text}; '' for no restriction")
    parser.add_argument("--app", help="the program that uses it")
    parser.add_argument("--rotate-every-days", type=int, metavar="DAYS", help="when the portal reminds to rotate it")


def _terms(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the terms that are given, as the API would take them."""
    document: dict[str, Any] = {name: getattr(arguments, name) for name in (*_LISTS, "app", "rotate_every_days")}
    document = {name: value for name, value in document.items() if value is not None}
    for name in _LISTS.keys() & document.keys():
        document[name] = [part.strip() for part in document[name].split(",") if part.strip()]
    with told_plainly():
        return given(read(KeyTerms, document))


def _list(arguments: argparse.Namespace) -> int:
    with connected() as connection:
        accounts.require(connection, arguments.account)
        _show(keys.list_keys(connection, arguments.account))
    return 0


def _create(arguments: argparse.Namespace) -> int:
    name, terms = checked_name(arguments.name), _terms(arguments)
    with told_plainly():
        peppers = config.peppers()
    with connected() as connection:
        pepper_check.compare(connection, peppers)
        key, token = keys.create(
            connection,
            peppers=peppers,
            account_id=arguments.account,
            name=name,
            environment=arguments.environment,
            expires_at=arguments.expires_at,
            actor=ACTOR,
            by_operator=True,
            **terms,
        )
    Console(stderr=True).print(f"Key {key.id}: copy it now, it is not shown again.", highlight=False)
    print(token)  # noqa: T201 - once, and alone, so that a shell can take it
    return 0


def _rename(arguments: argparse.Namespace) -> int:
    name = checked_name(arguments.name)
    with connected() as connection:
        _show([keys.change(connection, arguments.key, name=name, actor=ACTOR)])
    return 0


def _change(arguments: argparse.Namespace) -> int:
    terms = _terms(arguments)
    with connected() as connection:
        _show([keys.change(connection, arguments.key, actor=ACTOR, by_operator=True, **terms)])
    return 0


def _limits(arguments: argparse.Namespace) -> int:
    with connected() as connection:
        _show_limits(key_limits.find(connection, arguments.key))
    return 0


def _set_limits(arguments: argparse.Namespace) -> int:
    wanted = [replace(limit, subject="key") for limit in limits.parse(arguments.limit)]
    with connected() as connection:
        _show_limits(key_limits.replace(connection, arguments.key, wanted, actor=ACTOR, by_operator=True))
    return 0


def _rotate(arguments: argparse.Namespace) -> int:
    with told_plainly():
        peppers = config.peppers()
        rotation_id = arguments.rotation_id or secrets.token_hex(16)
        asked = read(Rotation, {"grace_s": arguments.grace, "rotation_id": rotation_id})
    with connected() as connection:
        pepper_check.compare(connection, peppers)
        done = rotation.rotate(
            connection,
            arguments.key,
            peppers=peppers,
            rotation_id=asked.rotation_id,
            grace_s=asked.grace_s,
            actor=ACTOR,
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
        _show([keys.set_status(connection, arguments.key, "disabled", actor=ACTOR, by_operator=True)])
    return 0


def _enable(arguments: argparse.Namespace) -> int:
    with connected() as connection:
        _show([keys.set_status(connection, arguments.key, "active", actor=ACTOR, by_operator=True)])
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
    output().print(table)


def _show_limits(found: Sequence[Limit]) -> None:
    table = Table(*limits.COLUMNS)
    for limit in found or (None,):
        table.add_row(*limits.cells(limit))
    output().print(table)


def _day(at: datetime | None) -> str:
    return "-" if at is None else f"{at:%Y-%m-%d %H:%M}"
