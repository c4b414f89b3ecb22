"""`keygauge billing`: close months that are over, show invoices, set what plans cost."""

from __future__ import annotations

import argparse

from rich.table import Table

from keygauge.command import Subparsers
from keygauge_keyservice.accounts import accounts
from keygauge_keyservice.billing import billing
from keygauge_keyservice.commands.output import output
from keygauge_keyservice.commands.session import ACTOR, connected
from keygauge_keyservice.csv_stream import usd
from keygauge_keyservice.money import parse_usd

_NANOUSD = 10**9
_USD_MAX = 10**6


def register(subparsers: Subparsers) -> None:
    """Add the commands."""
    parser = subparsers.add_parser("billing", help="close months, show invoices, set what plans cost")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    close = verbs.add_parser("close", help="close every account's months that are over; the service does it hourly")
    close.set_defaults(run=_close)
    show = verbs.add_parser("show", help="show an account's current period and its invoices")
    show.add_argument("account")
    show.set_defaults(run=_show)
    price = verbs.add_parser("price", help="set what a plan costs a month")
    price.add_argument("plan")
    price.add_argument("usd", type=_nanousd, help="US dollars a month, beside the cost of the usage")
    price.set_defaults(run=_price)


def _close(_: argparse.Namespace) -> int:
    with connected() as connection:
        closed = billing.close_periods(connection)
    output().print(f"Closed {len(closed)} periods.")
    return 0


def _show(arguments: argparse.Namespace) -> int:
    with connected() as connection:
        accounts.require(connection, arguments.account)
        current = billing.find_statement(connection, arguments.account)
        invoices = billing.list_invoices(connection, arguments.account)
    table = Table("period", "plan", title="US dollars")
    for name in ("plan price", "usage", "total"):
        table.add_column(name, justify="right")
    sums = (current.plan_nanousd, current.usage_nanousd, current.next_invoice_nanousd)
    table.add_row(f"{current.start:%Y-%m} (open)", current.plan_id, *(f"{usd(amount):f}" for amount in sums))
    for invoice in invoices:
        sums = (invoice.plan_nanousd, invoice.usage_nanousd, invoice.total_nanousd)
        table.add_row(f"{invoice.period:%Y-%m}", invoice.plan_id, *(f"{usd(amount):f}" for amount in sums))
    console = output()
    console.print(table)
    expected = usd(current.expected_nanousd)
    console.print(f"Next invoice: {current.next_invoice_at:%Y-%m-%d}, about {expected:.2f} at the last week's pace.")
    return 0


def _price(arguments: argparse.Namespace) -> int:
    with connected() as connection:
        billing.set_plan_price(connection, arguments.plan, arguments.usd, actor=ACTOR)
    output().print(f"{arguments.plan} costs {usd(arguments.usd):f} US dollars a month.")
    return 0


def _nanousd(text: str) -> int:
    price = parse_usd(text)
    if not (isinstance(price, int) and 0 <= price <= _USD_MAX * _NANOUSD):
        raise argparse.ArgumentTypeError(f"give 0 to {_USD_MAX} dollars, of at most nine decimals")
    return price
