"""`keygauge billing`: show the current period, list invoices, close past months."""

from __future__ import annotations

import click

from keygauge.command_line.command import CommandError, Noun
from keygauge_keyservice.commands.connection.client import Api
from keygauge_keyservice.commands.terminal.name_columns import Names, named
from keygauge_keyservice.commands.terminal.names import account_id, find_account
from keygauge_keyservice.commands.terminal.options import account_option, most_option, sort_option, verb
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


@verb(
    billing,
    "show",
    examples=("keygauge billing show --account Acme", "keygauge billing show --account Acme --ended"),
)
@account_option()
@click.option("--ended", "is_ended", is_flag=True, help="Show the month that has ended and has no invoice yet.")
def _show(*, api: Api, output: Output, account: str | None, is_ended: bool) -> None:
    """Show an account's current period and its next invoice."""
    document = api.get("billing", account=find_account(api, account)["id"], limit=1)
    ended = document["ended"]
    if is_ended and ended is None:
        raise CommandError("no month waits for its invoice: `keygauge billing list` lists the invoices")
    if output.form == "json":
        output.document(document)
        return
    output.item(ended if is_ended else document["current"], _STATEMENT, key="plan_id")
    if ended and not is_ended:
        output.note(f"{ended['start'][:7]} has ended and gets its invoice on {ended['next_invoice_at'][:10]}: --ended")


@verb(
    billing,
    "list",
    examples=(
        "keygauge billing list --account Acme",
        "keygauge billing list --status due --sort=-total",
        "keygauge billing list --output csv > invoices.csv",
    ),
)
@account_option("Only this account's invoices (default: all).")
@click.option("--status", type=click.Choice(["paid", "due"]), help="Only paid invoices, or those with an amount due.")
@sort_option("period", "total", default="-period")
@most_option()
def _list(*, api: Api, output: Output, account: str | None, most: int | None, **chosen: str | None) -> None:
    """List invoices."""
    found = api.all("billing", field="invoices", most=most, account=account_id(api, account), **chosen)
    output.items("invoices", found, _columns(api, output), key="period")


@verb(billing, "update", examples=("keygauge billing update 2026-10 --account Acme --paid",))
@click.argument("period")
@account_option()
@click.option("--paid/--unpaid", required=True, help="Mark the invoice as paid, or as unpaid again.")
def _update(*, api: Api, output: Output, period: str, account: str | None, paid: bool) -> None:
    """Mark the invoice of the month PERIOD as paid or unpaid."""
    first = period if period.count("-") > 1 else f"{period}-01"
    changed = api.patch("accounts", find_account(api, account)["id"], "invoices", first, body={"paid": paid})
    output.item(changed, _columns(api, output), key="period")


@verb(billing, "close", examples=("keygauge billing close",))
def _close(*, api: Api, output: Output) -> None:
    """Close all past months of all accounts. The service does this hourly."""
    document = api.post("billing", "close")
    output.item(document, (Column("closed", lambda one: one["closed"]),), key="closed")
