"""`keygauge prices`: list and set own prices, and re-rate what is in the ledger."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from decimal import Decimal

from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from keygauge.command import CommandError, Subparsers
from keygauge.rates import Rates
from keygauge_keyservice import accounts, prices, rerate
from keygauge_keyservice.commands.moment import moment
from keygauge_keyservice.commands.output import output
from keygauge_keyservice.commands.session import ACTOR, checked_name, connected, told_plainly
from keygauge_keyservice.csv_stream import usd
from keygauge_keyservice.price_book import PriceBook
from keygauge_keyservice.price_fields import parse_tiers
from keygauge_keyservice.pricing import PublicPrices

_DAYS_MAX = 3660
_TIER_HELP = (
    "US dollars per million tokens (input, output, cache_read, cache_write, reasoning) or per call (request): "
    "input=2.5,output=10; repeat it for calls of more input tokens, e.g. 200000:input=5,output=20"
)


def register(subparsers: Subparsers) -> None:
    """Add the commands."""
    parser = subparsers.add_parser("prices", help="list and set own prices, re-rate past calls")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    verbs.add_parser("list", help="list own prices; models without one follow the public list").set_defaults(run=_list)
    set_ = verbs.add_parser("set", help="set a model's price from a moment on")
    set_.add_argument("model", help="as answers name it")
    set_.add_argument("--tier", action="append", required=True, metavar="[ABOVE:]KIND=USD,…", help=_TIER_HELP)
    set_.add_argument("--provider", help="of this provider only (default: any)")
    set_.add_argument("--account", help="for this account only (default: all)")
    set_.add_argument("--from", dest="valid_from", type=moment, help="e.g. 2030-01-31T00:00:00Z; default: now")
    set_.set_defaults(run=_set)
    again = verbs.add_parser("rerate", help="recompute the cost of past calls with the prices as they are now")
    again.add_argument("--from", dest="start", type=moment, required=True, help="whole UTC days are taken")
    again.add_argument("--to", dest="end", type=moment, help="default: now")
    again.add_argument("--account", help="this account's calls only (default: all)")
    again.set_defaults(run=_rerate)


def _list(_: argparse.Namespace) -> int:
    with connected() as connection:
        _show(prices.list_prices(connection))
    return 0


def _set(arguments: argparse.Namespace) -> int:
    with told_plainly():
        tiers = parse_tiers(arguments.tier)
    with connected() as connection:
        price = prices.set_price(
            connection,
            model=checked_name(arguments.model),
            tiers=tiers,
            valid_from=arguments.valid_from or datetime.now(UTC),
            provider=arguments.provider and checked_name(arguments.provider),
            account_id=arguments.account,
            actor=ACTOR,
        )
        _show([price])
    return 0


def _rerate(arguments: argparse.Namespace) -> int:
    days = rerate.days_of(arguments.start, arguments.end or datetime.now(UTC))
    if not 1 <= len(days) <= _DAYS_MAX:
        raise CommandError(f"give a range of 1 to {_DAYS_MAX} days")
    with connected(autocommit=True) as connection:
        if arguments.account:
            accounts.require(connection, arguments.account)
        book = PriceBook(PublicPrices())
        book.refresh(connection)
        running = rerate.run(connection, days, book, account_id=arguments.account, actor=ACTOR)
        total = sum(
            (day for _, day in track(running, description="Re-rating", total=len(days), console=Console(stderr=True))),
            rerate.Rerated(),
        )
    output().print(
        f"{len(days)} days: {total.changed:,} of {total.events:,} calls changed, "
        f"{usd(total.difference_nanousd):+f} US dollars in all."
    )
    return 0


def _show(found: list[prices.OwnPrice]) -> None:
    table = Table("version", "model", "provider", "account", "from (UTC)", "input above")
    for name in ("input", "output", "cache read", "cache write", "reasoning", "per call"):
        table.add_column(name, justify="right")
    for price in found:
        for number, rates in enumerate(price.tiers):
            names = (
                (price.version, escape(price.model), escape(price.provider or "-"), price.account_id or "-")
                if number == 0
                else ("", "", "", "")
            )
            since = "" if number else f"{price.valid_from.astimezone(UTC):%Y-%m-%d %H:%M}"
            table.add_row(*names, since, "-" if rates.above < 0 else f"{rates.above:,}", *_dollars(rates))
    output().print(table)


def _dollars(rates: Rates) -> list[str]:
    """Write rates in US dollars per million tokens, and per call."""
    kinds = (rates.input, rates.output, rates.cache_read, rates.cache_write, rates.reasoning)
    return [*(_plain(Decimal(rate).scaleb(-9)) for rate in kinds), _plain(Decimal(rates.request).scaleb(-15))]


def _plain(number: Decimal) -> str:
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
