"""`keygauge billing`: show the current period, list invoices, close past months."""

from __future__ import annotations

import click

from keygauge.command_line.command import Noun
from keygauge_keyservice.commands.connection.client import Api
from keygauge_keyservice.commands.terminal.name_columns import Names, named
from keygauge_keyservice.commands.terminal.names import account_id, find_account
from keygauge_keyservice.commands.terminal.options import account_option, most_option, verb
from keygauge_keyservice.commands.terminal.output import Column, Output, column, number, time, usd

_STATEMENT = (
    time("start"),
    time("end"),
    column("plan_id", "plan"),
    usd("plan_nanousd", "plan price"),
    usd("usage_nanousd", "usage so far"),
    usd("late_nanousd", "late usage"),
    usd("next_invoice_nanousd", "month to date"),
    usd("expected_nanousd", "expected"),
    time("next_invoice_at", "next invoice"),
)
_INVOICE = (
    column("plan_id", "plan"),
    usd("plan_nanousd", "plan price"),
    usd("usage_nanousd", "usage"),
    usd("late_nanousd", "late usage"),
    usd("total_nanousd", "total"),
    number("requests"),
    time("closed_at"),
    column("due_on", "due"),
    time("paid_at"),
)


def _columns(api: Api, output: Output) -> tuple[Column, ...]:
    account = named(Names(api, "accounts"), output, "account", lambda invoice: invoice["account_id"])
    return (column("period"), *account, *_INVOICE)


@click.group(cls=Noun)
def billing() -> None:
    """Show the current period, list invoices and mark them as paid, close months."""


@verb(billing, "show", examples=("keygauge billing show --account Acme",))
@account_option()
def _show(*, api: Api, output: Output, account: str | None) -> None:
    """Show an account's current period and its next invoice."""
    document = api.get("billing", account=find_account(api, account)["id"], limit=1)
    if output.form == "json":
        output.document(document)
        return
    output.item(document["current"], _STATEMENT, key="plan_id")


@verb(
    billing,
    "list",
    examples=("keygauge billing list --account Acme", "keygauge billing list --output csv > invoices.csv"),
)
@account_option("Only this account's invoices (default: all).")
@most_option()
def _list(*, api: Api, output: Output, account: str | None, most: int | None) -> None:
    """List invoices, newest first."""
    found = api.all("billing", field="invoices", most=most, account=account_id(api, account))
    output.items("invoices", found, _columns(api, output), key="period")


@verb(billing, "update", examples=("keygauge billing update 2026-10-01 --account Acme --paid",))
@click.argument("period")
@account_option()
@click.option("--paid/--unpaid", required=True, help="Mark the invoice as paid, or as unpaid again.")
def _update(*, api: Api, output: Output, period: str, account: str | None, paid: bool) -> None:
    """Mark the invoice of PERIOD, the first day of its month, as paid or unpaid."""
    changed = api.patch("accounts", find_account(api, account)["id"], "invoices", period, body={"paid": paid})
    output.item(changed, _columns(api, output), key="period")


@verb(billing, "close", examples=("keygauge billing close",))
def _close(*, api: Api, output: Output) -> None:
    """Close all past months of all accounts. The service does this hourly."""
    document = api.post("billing", "close")
    output.item(document, (Column("closed", lambda one: one["closed"]),), key="closed")
