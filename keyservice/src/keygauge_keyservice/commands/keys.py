"""`keygauge keys`: list, show, create, import, update, rotate, disable, enable, delete."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import click

from keygauge.command_line.command import Noun
from keygauge_keyservice.commands.connection.client import Api
from keygauge_keyservice.commands.connection.document import Document
from keygauge_keyservice.commands.key_import import import_keys
from keygauge_keyservice.commands.limits import limit_documents, limit_options, write_limits
from keygauge_keyservice.commands.terminal.name_columns import Names, named
from keygauge_keyservice.commands.terminal.names import account_id, confirm, find_account, find_key
from keygauge_keyservice.commands.terminal.options import (
    Duration,
    Time,
    account_option,
    most_option,
    sort_option,
    verb,
)
from keygauge_keyservice.commands.terminal.output import Column, Output, column, parse_time, time

_ID_LENGTH = 12  # characters in an account's id

_RESTRICTIONS = {
    "models": "Allowed models, e.g. gpt-4o-mini,claude-*",
    "tools": "Allowed tools of an MCP server, e.g. search,files_*",
    "routes": "Allowed endpoints, e.g. /v1/chat/completions,/v1/files*",
    "networks": "Allowed client addresses and networks, e.g. 192.0.2.0/24",
    "scopes": "Scopes passed to the app, e.g. chat:write",
}


def _status(key: Document) -> str:
    ends = parse_time(key["expires_at"])
    return "expired" if key["status"] == "active" and ends and ends <= datetime.now(UTC) else str(key["status"])


def _columns(api: Api, output: Output) -> tuple[Column, ...]:
    account = named(Names(api, "accounts"), output, "account", lambda key: key["account"])
    return (column("id", "key"), column("name"), *account, *_STATE)


_STATE = (
    column("environment"),
    Column("status", _status),
    time("created_at"),
    time("expires_at"),
    time("last_used_at"),
)
_DETAILS = (
    column("app"),
    *(column(name) for name in _RESTRICTIONS),
    column("rotate_every_days"),
    time("rotated_at"),
    Column("limits", lambda key: write_limits(key["limits"])),
)


@click.group(cls=Noun)
def keys() -> None:
    """List, create and change API keys."""


keys.add_command(import_keys)


@verb(
    keys,
    "list",
    examples=(
        "keygauge keys list --account Acme",
        "keygauge keys list --status disabled --output json",
        "keygauge keys list --account Acme --quiet | xargs -n1 keygauge keys disable",
    ),
)
@account_option("Only this account's keys.")
@click.option("--name", help="Only keys with this name.")
@click.option("--status", type=click.Choice(["active", "disabled", "deleted"]), help="Only keys with this status.")
@click.option("--environment", type=click.Choice(["live", "test"]), help="Only keys in this environment.")
@sort_option("created", "name", "last_used", "expires", default="created")
@most_option()
def _list(*, api: Api, output: Output, account: str | None, most: int | None, **chosen: str | None) -> None:
    """List keys."""
    found = api.all("keys", field="keys", most=most, account=account_id(api, account), **chosen)
    output.items("keys", found, _columns(api, output))


@verb(keys, "show", examples=("keygauge keys show production --account Acme", "keygauge keys show kg_live_3kTMd"))
@click.argument("key", metavar="ID|NAME")
@account_option("The key's account, if the name is not unique.")
def _show(*, api: Api, output: Output, key: str, account: str | None) -> None:
    """Show a key with its permissions and limits."""
    output.item(_with_limits(api, find_key(api, key, account)), (*_columns(api, output), *_DETAILS))


def _term_options(function: Callable[..., Any]) -> Callable[..., Any]:
    own: list[Callable[..., Any]] = [
        click.option(f"--{name}", metavar="A,B", help=f"{text}; '' for no restriction.")
        for name, text in _RESTRICTIONS.items()
    ]
    own += [
        click.option("--app", help="The program that uses the key."),
        click.option(
            "--rotate-every-days", type=int, metavar="DAYS", help="How often the portal reminds to rotate it."
        ),
        limit_options,
    ]
    for option in reversed(own):
        function = option(function)
    return function


@verb(
    keys,
    "create",
    makes_secrets=True,
    examples=(
        "keygauge keys create production --account Acme",
        "keygauge keys create ci --account Acme --environment test --expires-at 90d --models 'gpt-4o-mini,claude-*'",
        "keygauge keys create batch --account Acme --limit 'budget=$2.50:usd:day'",
    ),
)
@click.argument("names", nargs=-1, required=True, metavar="NAME")
@account_option()
@click.option("--environment", type=click.Choice(["live", "test"]), default="live", help="live (default) or test.")
@click.option("--expires-at", type=Time(), help="Expiry, e.g. 2030-01-31, or 90d from now.")
@_term_options
def _create(
    *,
    api: Api,
    output: Output,
    names: tuple[str, ...],
    account: str | None,
    environment: str,
    expires_at: str | None,
    **given: Any,
) -> None:
    """Create a key. It is printed once, alone on standard output."""
    account, name = _account_and_name(account, names)
    _check_expiry(expires_at)
    body = {"name": name, "environment": environment, **_terms(given)}
    if expires_at:
        body["expires_at"] = expires_at
    made = api.post("accounts", find_account(api, account)["id"], "keys", body=body)
    _show_token(output, made, made["key"])


def _account_and_name(account: str | None, names: tuple[str, ...]) -> tuple[str | None, str]:
    """Separate account and name; scripts older than `--account` pass the account's id first."""
    match account, names:
        case _, (name,):
            return account, name
        case None, (account_id, name) if len(account_id) == _ID_LENGTH and account_id.isalnum():
            return account_id, name
    raise click.UsageError("Give one name for the key. Use --account ID or NAME.")


@verb(
    keys,
    "update",
    examples=(
        "keygauge keys update production --account Acme --name backend",
        "keygauge keys update 3kTMd8Zr0aBc --models 'gpt-4o*' --expires-at 30d",
        "keygauge keys update 3kTMd8Zr0aBc --limit rpm=60:request:1m",
    ),
)
@click.argument("key", metavar="ID|NAME")
@account_option("The key's account, if the name is not unique.")
@click.option("--name", help="The new name.")
@click.option("--expires-at", type=Time(), help="Expiry, e.g. 2030-01-31, or 90d from now.")
@click.option("--no-expiry", is_flag=True, help="Remove the expiry date.")
@_term_options
@click.option("--no-limits", is_flag=True, help="Remove the key's own limits.")
def _update(
    *,
    api: Api,
    output: Output,
    key: str,
    account: str | None,
    name: str | None,
    expires_at: str | None,
    no_expiry: bool,
    no_limits: bool,
    **given: Any,
) -> None:
    """Change a key's name, permissions or own limits; the rest stays."""
    if expires_at and parse_time(expires_at) <= datetime.now(UTC):  # type: ignore[operator]  # it is one
        output.note("keygauge: this key expires immediately: the time is in the past")
    body: Document = {"name": name, "expires_at": expires_at, **_terms(given)}
    body = {field: value for field, value in body.items() if value is not None}
    if no_expiry:
        body["expires_at"] = None
    if no_limits:
        body["limits"] = []
    if not body:
        raise click.UsageError("Say what to change, e.g. --name, --models or --limit.")
    changed = api.patch("keys", find_key(api, key, account)["id"], body=body)
    output.item(_with_limits(api, changed), (*_columns(api, output), *_DETAILS))


@verb(
    keys,
    "rotate",
    makes_secrets=True,
    examples=("keygauge keys rotate production --account Acme --grace 1d",),
)
@click.argument("key", metavar="ID|NAME")
@account_option("The key's account, if the name is not unique.")
@click.option("--grace", type=Duration(), default=0, help="How long the old secret stays valid, e.g. 1h (default: 0s).")
@click.option("--rotation-id", help="Repeating a rotation with its id changes nothing (default: random).")
def _rotate(*, api: Api, output: Output, key: str, account: str | None, grace: int, rotation_id: str | None) -> None:
    """Rotate a key's secret. The new one is printed once, alone on standard output."""
    rotation = rotation_id or secrets.token_hex(16)
    found = find_key(api, key, account)
    done = api.post("keys", found["id"], "rotations", body={"rotation_id": rotation, "grace_s": grace})
    if done["token"] is None:
        output.note(f"Rotation {rotation} was done before: nothing has changed.")
        return
    _show_token(output, done, done["key"])


@verb(keys, "disable", examples=("keygauge keys disable production --account Acme",))
@click.argument("key", metavar="ID|NAME")
@account_option("The key's account, if the name is not unique.")
def _disable(*, api: Api, output: Output, key: str, account: str | None) -> None:
    """Disable a key everywhere within about a second."""
    _set_status(api, output, key, account, "disabled")


@verb(keys, "enable", examples=("keygauge keys enable production --account Acme",))
@click.argument("key", metavar="ID|NAME")
@account_option("The key's account, if the name is not unique.")
def _enable(*, api: Api, output: Output, key: str, account: str | None) -> None:
    """Enable a disabled key."""
    _set_status(api, output, key, account, "active")


@verb(keys, "delete", examples=("keygauge keys delete production --account Acme --yes",))
@click.argument("key", metavar="ID|NAME")
@account_option("The key's account, if the name is not unique.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation.")
def _delete(*, api: Api, output: Output, key: str, account: str | None, yes: bool) -> None:
    """Delete a key permanently."""
    found = find_key(api, key, account)
    confirm(f"Delete key {found['name']} ({found['id']}) of account {found['account']} permanently?", is_sure=yes)
    api.delete("keys", found["id"])
    output.note(f"Deleted key {found['name']} ({found['id']}).")


def _terms(given: dict[str, Any]) -> Document:
    """Return the given terms in the API's format."""
    terms = {name: given[name] for name in (*_RESTRICTIONS, "app", "rotate_every_days") if given[name] is not None}
    for name in _RESTRICTIONS.keys() & terms.keys():
        terms[name] = [part.strip() for part in terms[name].split(",") if part.strip()]
    if given["limits"]:
        terms["limits"] = limit_documents(given["limits"], subject="key")
    return terms


def _check_expiry(expires_at: str | None) -> None:
    if expires_at and parse_time(expires_at) <= datetime.now(UTC):  # type: ignore[operator]  # it is one
        raise click.UsageError(f"--expires-at {expires_at} is in the past: the key could never be used.")


def _set_status(api: Api, output: Output, key: str, account: str | None, status: str) -> None:
    changed = api.patch("keys", find_key(api, key, account)["id"], body={"status": status})
    output.item(changed, _columns(api, output))


def _show_token(output: Output, document: Document, key: Document) -> None:
    if output.form == "json" and not output.is_quiet:
        output.document(document)
        return
    output.note(f"Key {key['name']} ({key['id']}): copy it now, it is not shown again.")
    click.echo(document["token"])  # alone, so that a shell can capture it


def _with_limits(api: Api, key: Document) -> Document:
    return key | api.get("keys", key["id"], "limits")
