"""`keygauge prices`: list what models cost, set own prices, and re-rate what is in the ledger."""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime

from rich.console import Console
from rich.progress import track

from keygauge.command import CommandError, Subparsers
from keygauge_keyservice.accounts import accounts
from keygauge_keyservice.commands import price_list
from keygauge_keyservice.commands.cli_time import moment
from keygauge_keyservice.commands.output import output
from keygauge_keyservice.commands.session import ACTOR, checked_name, connected, told_plainly
from keygauge_keyservice.csv_stream import usd
from keygauge_keyservice.ledger import rerate
from keygauge_keyservice.pricing import own_prices
from keygauge_keyservice.pricing.price_book import PriceBook
from keygauge_keyservice.pricing.price_terms import parse_tiers
from keygauge_keyservice.pricing.public_prices import PublicPrices

_DAYS_MAX = 3660
_TIER_HELP = (
    "US dollars per million tokens (input, output, cache_read, cache_write, reasoning, cache_write_1h, input_audio, "
    "output_audio, …), per call (request), or each (images, seconds, web_searches, …): "
    "input=2.5,output=10; repeat it for calls of more input tokens, e.g. 200000:input=5,output=20"
)


def register(subparsers: Subparsers) -> None:
    """Add the commands."""
    parser = subparsers.add_parser("prices", help="list prices, set own ones, re-rate past calls")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    list_ = verbs.add_parser("list", help="list the prices in force and those to come: own ones and the public list")
    list_.add_argument("model", nargs="?", help="only models whose name contains this")
    list_.add_argument("--own", action="store_true", help="own prices only")
    list_.add_argument("--past", action="store_true", help="own prices that others have taken over from, too")
    list_.add_argument("--json", action="store_true", help="as JSON, rates in whole nano-USD per million")
    list_.set_defaults(run=_list)
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


def _list(arguments: argparse.Namespace) -> int:
    with connected() as connection:
        found = price_list.find(connection, arguments.model, is_own=arguments.own, has_past=arguments.past)
    if arguments.json:
        print(json.dumps([price_list.document(entry) for entry in found], indent=1))  # noqa: T201 - it is the output
    else:
        output().print(price_list.table(found))
    return 0


def _set(arguments: argparse.Namespace) -> int:
    with told_plainly():
        tiers = parse_tiers(arguments.tier)
    with connected() as connection:
        price = own_prices.set_price(
            connection,
            model=checked_name(arguments.model),
            tiers=tiers,
            valid_from=arguments.valid_from or datetime.now(UTC),
            provider=arguments.provider and checked_name(arguments.provider),
            account_id=arguments.account,
            actor=ACTOR,
        )
        output().print(price_list.table([price_list.own(price)]))
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
