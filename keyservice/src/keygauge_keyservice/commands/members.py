"""`keygauge members`: list, create, invite, update, remove, set a password."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable
from getpass import getpass
from typing import Any, get_args

import click

from keygauge.command_line.command import CommandError, Noun
from keygauge_keyservice.accounts import members as people
from keygauge_keyservice.commands.connection.client import Api
from keygauge_keyservice.commands.connection.document import Document
from keygauge_keyservice.commands.connection.session import ACTOR, connected, require_account
from keygauge_keyservice.commands.init import SERVICE_URL
from keygauge_keyservice.commands.terminal.names import confirm, find_account, find_among
from keygauge_keyservice.commands.terminal.options import account_option, verb
from keygauge_keyservice.commands.terminal.output import Output, column, time

_GENERATED_BYTES = 15  # 20 characters
_ROLES = click.Choice(get_args(people.Role))
_COLUMNS = (column("id", "member"), column("email", "e-mail address"), column("role"))
_INVITED = (
    column("id", "invitation"),
    column("email", "e-mail address"),
    column("role"),
    column("created_by", "invited by"),
    time("ends_at"),
)


@click.group(cls=Noun)
def members() -> None:
    """Manage who can sign in to the portal."""


@verb(members, "list", examples=("keygauge members list --account Acme", "keygauge members list"))
@account_option("The account; without it, the operators or, with a URL, the token's own account.")
@click.option("--role", type=_ROLES, help="Only members with this role.")
@click.option("--invited", is_flag=True, help="List open invitations instead.")
def _list(*, api: Api, output: Output, account: str | None, role: str | None, invited: bool) -> None:
    """List an account's members, or the operators."""
    if account is None and not api.is_remote:
        with connected() as connection:
            found = [
                {"id": one.id, "email": one.email, "role": one.role} for one in people.list_members(connection, None)
            ]
        output.items("members", found, _COLUMNS)
        return
    account_id = find_account(api, account)["id"]
    if invited:
        invited_people = api.all("accounts", account_id, "invitations", field="invitations")
        output.items("invitations", invited_people, _INVITED)
    else:
        output.items("members", api.all("accounts", account_id, "members", field="members", role=role), _COLUMNS)


@verb(members, "invite", examples=("keygauge members invite ada@example.com --account Acme --role member",))
@click.argument("email")
@account_option()
@click.option("--role", type=_ROLES, default="owner", help="owner (default), member or viewer.")
def _invite(*, api: Api, output: Output, email: str, account: str | None, role: str) -> None:
    """Invite a person with a one-time link. It is printed once, alone on standard output."""
    made = api.post("accounts", find_account(api, account)["id"], "invitations", body={"email": email, "role": role})
    if output.form == "json" and not output.is_quiet:
        output.document(made)
        return
    invited = made["invitation"]
    output.note(
        f"{invited['email']} may join as {invited['role']} until {invited['ends_at'][:10]}. Send them this link."
    )
    if made["link"].startswith(SERVICE_URL):
        output.note(f"The link leads to {SERVICE_URL}: if your portal is elsewhere, set KEYGAUGE_PUBLIC_URL first.")
    click.echo(made["link"])


@verb(members, "update", examples=("keygauge members update ada@example.com --account Acme --role viewer",))
@click.argument("member", metavar="EMAIL|ID")
@account_option()
@click.option("--role", type=_ROLES, required=True, help="The member's new role.")
def _update(*, api: Api, output: Output, member: str, account: str | None, role: str) -> None:
    """Change a member's role."""
    account_id, found = _find(api, account, member)
    changed = api.patch("accounts", account_id, "members", str(found["id"]), body={"role": role})
    output.item(changed, _COLUMNS)


@verb(members, "remove", examples=("keygauge members remove ada@example.com --account Acme --yes",))
@click.argument("member", metavar="EMAIL|ID")
@account_option()
@click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation.")
def _remove(*, api: Api, output: Output, member: str, account: str | None, yes: bool) -> None:
    """Remove a member and end their sessions, or withdraw an open invitation."""
    account_id = find_account(api, account)["id"]
    invited = api.get("accounts", account_id, "invitations")["invitations"]
    if open_ := next((one for one in invited if one["email"] == people.normalise_email(member)), None):
        api.delete("accounts", account_id, "invitations", str(open_["id"]))
        output.note(f"The invitation of {open_['email']} has ended.")
        return
    _, found = _find(api, account, member)
    confirm(f"Remove {found['email']} from account {account_id}?", is_sure=yes)
    api.delete("accounts", account_id, "members", str(found["id"]))
    output.note(f"Removed {found['email']}.")


def _find(api: Api, account: str | None, member: str) -> tuple[str, Document]:
    account_id = str(find_account(api, account)["id"])
    listed = list(api.all("accounts", account_id, "members", field="members"))
    return account_id, find_among("member", member, listed, name="email")


def _generate_option(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--generate",
        is_flag=True,
        help="Generate the password and print it once, alone on standard output. Without this option, it is "
        "prompted for, or read from standard input if that is not a terminal.",
    )(function)


@members.command(
    "create",
    examples=(
        "keygauge members create ada@example.com --account Acme --generate",
        "keygauge members create root@example.com --role operator --generate",
    ),
)
@click.argument("email")
@account_option("The account; leave out for an operator.")
@click.option(
    "--role", type=click.Choice(get_args(people.AnyRole)), help="The member's role (default: owner, or operator)."
)
@_generate_option
def _create(email: str, account: str | None, role: people.AnyRole | None, *, generate: bool) -> None:
    """Create a member who signs in with a password. Needs direct access to the database; otherwise, use `invite`."""
    password = _password(generate=generate)
    with connected() as connection:
        member = people.create(
            connection,
            account_id=account and require_account(connection, account),
            email=email,
            password=password,
            role=role or ("owner" if account else "operator"),
            actor=ACTOR,
        )
    where = f"account {member.account_id}" if member.account_id else "every account"
    click.echo(f"{member.email} may sign in to {where} as {member.role}.", err=True)
    _show(password, generate=generate)


@members.command("set-password", examples=("keygauge members set-password ada@example.com --generate",))
@click.argument("email")
@_generate_option
def _set_password(email: str, *, generate: bool) -> None:
    """Set a member's password and end all their sessions. Needs direct access to the database; else, use `invite`."""
    password = _password(generate=generate)
    with connected() as connection:
        member = people.set_password(connection, email, password, actor=ACTOR)
    click.echo(f"{member.email} has a new password; all sessions have ended.", err=True)
    _show(password, generate=generate)


def _password(*, generate: bool) -> str:
    if generate:
        return secrets.token_urlsafe(_GENERATED_BYTES)
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password = getpass("Password: ")
    if getpass("Again: ") != password:
        raise CommandError("the passwords don't match")
    return password


def _show(password: str, *, generate: bool) -> None:
    if generate:
        click.echo("This is the password: copy it now, it is not shown again.", err=True)
        click.echo(password)  # alone, so that a shell can capture it
