"""`keygauge accounts`: list, show, create, update, rename, note, disable, enable, delete."""

from __future__ import annotations

import click

from keygauge.command_line.command import Noun
from keygauge_keyservice.commands.connection.client import Api
from keygauge_keyservice.commands.connection.document import Document
from keygauge_keyservice.commands.terminal.names import find_account, find_plan
from keygauge_keyservice.commands.terminal.options import most_option, sort_option, verb
from keygauge_keyservice.commands.terminal.output import Output, column, time

_COLUMNS = (column("id", "account"), column("name"), column("plan"), column("status"), time("created_at"))


@click.group(cls=Noun)
def accounts() -> None:
    """Manage accounts."""


@verb(
    accounts,
    "list",
    examples=("keygauge accounts list --plan pro", "keygauge accounts list --status suspended --output csv"),
)
@click.option("--name", help="Only accounts with this name.")
@click.option("--plan", metavar="ID|NAME", help="Only accounts on this plan.")
@click.option("--status", type=click.Choice(["active", "suspended"]), help="Only accounts with this status.")
@sort_option("id", "name", "created", default="id")
@most_option()
def _list(*, api: Api, output: Output, plan: str | None, most: int | None, **chosen: str | None) -> None:
    """List accounts."""
    plan = plan and find_plan(api, plan)["id"]
    found = api.all("accounts", field="accounts", most=most, plan=plan, **chosen)
    output.items("accounts", found, _COLUMNS)


@verb(accounts, "show", examples=("keygauge accounts show Acme",))
@click.argument("account", metavar="ID|NAME")
def _show(*, api: Api, output: Output, account: str) -> None:
    """Show an account."""
    output.item(find_account(api, account), _COLUMNS)


@verb(accounts, "create", examples=("keygauge accounts create Acme --plan pro",))
@click.argument("name")
@click.option("--plan", metavar="ID|NAME", required=True, help="The account's plan.")
def _create(*, api: Api, output: Output, name: str, plan: str) -> None:
    """Create an account on a plan."""
    output.item(api.post("accounts", body={"name": name, "plan": find_plan(api, plan)["id"]}), _COLUMNS)


@verb(
    accounts,
    "update",
    examples=("keygauge accounts update Acme --plan pro", "keygauge accounts update Acme --name 'Acme Ltd'"),
)
@click.argument("account", metavar="ID|NAME")
@click.option("--name", help="The new name.")
@click.option("--plan", metavar="ID|NAME", help="The new plan, effective at once for all keys.")
def _update(*, api: Api, output: Output, account: str, name: str | None, plan: str | None) -> None:
    """Move an account to another plan, or rename it."""
    body = {"name": name, "plan": plan and find_plan(api, plan)["id"]}
    _change(api, output, account, {field: value for field, value in body.items() if value is not None})


@verb(accounts, "rename", examples=("keygauge accounts rename Acme 'Acme Ltd'",))
@click.argument("account", metavar="ID|NAME")
@click.argument("name")
def _rename(*, api: Api, output: Output, account: str, name: str) -> None:
    """Rename an account."""
    _change(api, output, account, {"name": name})


@verb(accounts, "note", examples=("keygauge accounts note Acme 'Asked for a higher limit by phone'",))
@click.argument("account", metavar="ID|NAME")
@click.argument("text")
def _note(*, api: Api, output: Output, account: str, text: str) -> None:
    """Add a support note, which the account's members can read; `keygauge audit list --event note` lists notes."""
    found = find_account(api, account)
    added = api.post("accounts", found["id"], "notes", body={"text": text})
    output.item(added, (column("id"), time("at", "time"), column("actor")))


@verb(accounts, "disable", examples=("keygauge accounts disable Acme",))
@click.argument("account", metavar="ID|NAME")
def _disable(*, api: Api, output: Output, account: str) -> None:
    """Suspend an account: all of its keys are refused within about a second."""
    _change(api, output, account, {"status": "suspended"})


@verb(accounts, "enable", examples=("keygauge accounts enable Acme",))
@click.argument("account", metavar="ID|NAME")
def _enable(*, api: Api, output: Output, account: str) -> None:
    """Reactivate a suspended account."""
    _change(api, output, account, {"status": "active"})


@verb(accounts, "delete", examples=("keygauge accounts delete Acme",))
@click.argument("account", metavar="ID|NAME")
def _delete(*, api: Api, output: Output, account: str) -> None:
    """Delete an account that never had keys or invoices; suspend others with `disable`."""
    found = find_account(api, account)
    api.delete("accounts", found["id"])
    output.note(f"Deleted account {found['name']} ({found['id']}).")


def _change(api: Api, output: Output, account: str, body: Document) -> None:
    if not body:
        raise click.UsageError("Choose what to change: --name or --plan.")
    output.item(api.patch("accounts", find_account(api, account)["id"], body=body), _COLUMNS)
