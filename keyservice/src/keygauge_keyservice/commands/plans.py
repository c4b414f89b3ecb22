"""`keygauge plans`: list, show, create, update, delete."""

from __future__ import annotations

from collections.abc import Sequence

import click

from keygauge.command_line.command import Noun
from keygauge_keyservice.commands.connection.client import Api
from keygauge_keyservice.commands.connection.document import Document
from keygauge_keyservice.commands.limits import limit_documents, limit_options, write_limits
from keygauge_keyservice.commands.terminal.names import find_plan
from keygauge_keyservice.commands.terminal.options import Money, most_option, sort_option, verb
from keygauge_keyservice.commands.terminal.output import Column, Output, column, time, usd

_COLUMNS = (
    column("id", "plan"),
    column("name"),
    usd("monthly_nanousd", "price per month"),
    Column("limits", lambda plan: write_limits(plan["limits"])),
    Column("prorated", lambda plan: "yes" if plan["prorated"] else "no"),
    Column("self service", lambda plan: "yes" if plan["self_service"] else "no"),
    column("providers"),
    time("created_at"),
)


@click.group(cls=Noun)
def plans() -> None:
    """Manage plans and their limits."""


@verb(plans, "list", examples=("keygauge plans list", "keygauge plans list --output json"))
@sort_option("id", "name", "created", default="id")
@most_option()
def _list(*, api: Api, output: Output, sort: str, most: int | None) -> None:
    """List plans with their limits."""
    output.items("plans", api.all("plans", field="plans", most=most, sort=sort), _COLUMNS)


@verb(plans, "delete", examples=("keygauge plans delete trial",))
@click.argument("plan", metavar="ID|NAME")
def _delete(*, api: Api, output: Output, plan: str) -> None:
    """Delete a plan that no account uses, or used in a month that may still be billed."""
    found = find_plan(api, plan)
    api.delete("plans", found["id"])
    output.note(f"Deleted plan {found['name']} ({found['id']}).")


@verb(plans, "show", examples=("keygauge plans show pro",))
@click.argument("plan", metavar="ID|NAME")
def _show(*, api: Api, output: Output, plan: str) -> None:
    """Show a plan."""
    output.item(find_plan(api, plan), _COLUMNS)


@verb(
    plans,
    "create",
    examples=(
        "keygauge plans create pro --name Pro --limit rpm=600:request:1m --price '$20'",
        "keygauge plans create trial --limit 'budget=$5:usd:month' --limit at_once=2:concurrent",
    ),
)
@click.argument("plan", metavar="ID")
@click.option("--name", help="The display name (default: the id).")
@limit_options
@click.option("--price", type=Money(), help="Price per month in addition to usage, e.g. '$20'.")
@click.option("--prorate", is_flag=True, help="Bill by the day instead of the month-end plan in full.")
@click.option("--self-service", is_flag=True, help="Let owners choose this plan in the portal; needs --prorate.")
def _create(
    *,
    api: Api,
    output: Output,
    plan: str,
    name: str | None,
    limits: Sequence[str],
    price: int | None,
    prorate: bool,
    self_service: bool,
) -> None:
    """Create a plan."""
    body: Document = {"id": plan, "name": name or plan, "limits": limit_documents(limits)}
    body |= {"prorated": prorate, "self_service": self_service}
    made = api.post("plans", body=body | ({} if price is None else {"monthly_nanousd": price}))
    output.item(made, _COLUMNS)


@verb(
    plans,
    "update",
    examples=(
        "keygauge plans update pro --limit rpm=1200:request:1m --limit monthly=50000:request:month",
        "keygauge plans update pro --price '$25' --provider '/v1/chat/*=deepseek'",
    ),
)
@click.argument("plan", metavar="ID|NAME")
@click.option("--name", help="The new name.")
@limit_options
@click.option("--no-limits", is_flag=True, help="Remove all limits.")
@click.option("--price", type=Money(), help="Price per month; past months keep theirs.")
@click.option("--prorate/--no-prorate", default=None, help="Bill by the day, or the month-end plan in full.")
@click.option("--self-service/--no-self-service", default=None, help="Whether owners can choose it in the portal.")
@click.option(
    "--provider",
    "providers",
    multiple=True,
    metavar="PATH=PROVIDER",
    help="Which provider answers on a route, PATH=PROVIDER; repeatable.",
)
@click.option("--no-providers", is_flag=True, help="Remove all provider rules.")
def _update(
    *,
    api: Api,
    output: Output,
    plan: str,
    name: str | None,
    limits: Sequence[str],
    no_limits: bool,
    price: int | None,
    prorate: bool | None,
    self_service: bool | None,
    providers: Sequence[str],
    no_providers: bool,
) -> None:
    """Change a plan, at once for all of its accounts. New limits replace all old ones."""
    body: Document = {"name": name, "monthly_nanousd": price, "prorated": prorate, "self_service": self_service}
    if limits or no_limits:
        body["limits"] = limit_documents(limits)
    if providers or no_providers:
        body["providers"] = list(providers)
    body = {field: value for field, value in body.items() if value is not None}
    if not body:
        raise click.UsageError(
            "Choose what to change: --name, --limit, --price, --prorate, --self-service or --provider."
        )
    output.item(api.patch("plans", find_plan(api, plan)["id"], body=body), _COLUMNS)
