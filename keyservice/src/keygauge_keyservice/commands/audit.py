"""`keygauge audit`: who changed what."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

import click

from keygauge.command_line.command import Noun
from keygauge_keyservice.commands.connection.client import Api
from keygauge_keyservice.commands.connection.document import Document
from keygauge_keyservice.commands.terminal.name_columns import Names, named
from keygauge_keyservice.commands.terminal.names import account_id
from keygauge_keyservice.commands.terminal.options import Time, account_option, most_option, sort_option, verb
from keygauge_keyservice.commands.terminal.output import Column, Output, column, time


def _changes(entry: Document, write: Callable[[Document], Mapping[str, str]]) -> str:
    before, after = write(entry["before"] or {}), write(entry["after"] or {})
    changes = []
    for name in dict.fromkeys((*before, *after)):
        old, new = before.get(name), after.get(name)
        changes.append(f"{name}: {old} → {new}" if old and new else f"{name}: {new or old}")
    return ", ".join(changes)


def _codes(values: Document) -> dict[str, str]:
    return {name: json.dumps(value) for name, value in values.items() if value is not None}


def _words(values: Document) -> dict[str, str]:
    from keygauge_keyservice.portal import audit_text  # noqa: PLC0415 - only this command needs the portal

    return {change.name or "Text": "; ".join(change.lines) for change in audit_text.changes(values)}


def _columns(api: Api, output: Output) -> tuple[Column, ...]:
    account = named(Names(api, "accounts"), output, "account", lambda entry: entry["account"])
    if output.form != "table":
        changes = Column("changes", lambda entry: _changes(entry, _codes))
        return (time("at", "time"), *account, *_EVENT, column("subject", "target"), changes)
    keys = Names(api, "keys")
    target = Column("target", lambda entry: keys.of(entry["subject"]) if _is_of_key(entry) else entry["subject"])
    changes = Column("changes", lambda entry: _changes(entry, _words))
    return (time("at", "time"), *account, *_EVENT, target, changes)


def _is_of_key(entry: Document) -> bool:
    return str(entry["action"]).startswith("key.")


_EVENT = (column("actor"), column("action", "event"))


@click.group(cls=Noun)
def audit() -> None:
    """List who changed what."""


@verb(
    audit,
    "list",
    examples=("keygauge audit list --account Acme", "keygauge audit list --event key --limit 500 --output csv"),
)
@account_option("Only this account's events.")
@click.option("--event", "action", help="An event such as key.create, or a group such as key.")
@click.option("--target", "subject", help="Only events about this id.")
@click.option("--actor", help="Only changes by this actor, such as an e-mail address.")
@click.option(
    "--from", "start", type=Time(is_past=True), help="Start of the range, e.g. 2026-11-01, or 7d for a week ago."
)
@click.option("--to", "end", type=Time(is_past=True), help="End of the range.")
@sort_option("time", default="-time")
@most_option(100)
def _list(
    *,
    api: Api,
    output: Output,
    account: str | None,
    start: str | None,
    end: str | None,
    most: int,
    **chosen: str | None,
) -> None:
    """List changes."""
    found = api.all(
        "audit", field="entries", most=most, account=account_id(api, account), **{"from": start, "to": end}, **chosen
    )
    output.items("entries", found, _columns(api, output))
