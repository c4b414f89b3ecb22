"""`keygauge prices`: list models' prices, set own prices, and re-rate calls in the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

import click
from rich.console import Console
from rich.progress import track

from keygauge.command_line.command import CommandError, Noun
from keygauge.command_line.count import counted
from keygauge_keyservice.commands.connection.client import Api
from keygauge_keyservice.commands.connection.document import Document
from keygauge_keyservice.commands.connection.explanation import explain
from keygauge_keyservice.commands.connection.session import ACTOR, connected, require_account
from keygauge_keyservice.commands.terminal.name_columns import Names, named
from keygauge_keyservice.commands.terminal.names import account_id
from keygauge_keyservice.commands.terminal.options import Time, account_option, most_option, verb
from keygauge_keyservice.commands.terminal.output import Column, Output, column, parse_time, time
from keygauge_keyservice.errors import Problem
from keygauge_keyservice.ledger import rerate
from keygauge_keyservice.pricing import price_book
from keygauge_keyservice.pricing.price_terms import parse_tiers
from keygauge_keyservice.pricing.tier_text import write_tiers

_DAYS_MAX = 3660
_TIER_HELP = (
    "US dollars per million tokens (input, output, cache_read, cache_write, reasoning, cache_write_1h, input_audio, "
    "output_audio, …), per call (request), or each (images, seconds, web_searches, …): "
    "input=2.5,output=10; repeat it for calls of more input tokens, e.g. 200000:input=5,output=20."
)
_SOURCE = (column("model"), column("provider"), column("version", "source"))
_TERMS = (
    time("valid_from", "from"),
    Column("US dollars per million tokens", lambda price: write_tiers(price["tiers"])),
)


def _columns(api: Api, output: Output) -> tuple[Column, ...]:
    account = named(Names(api, "accounts"), output, "account", lambda price: price["account"])
    return (*_SOURCE, *account, *_TERMS)


@click.group(cls=Noun)
def prices() -> None:
    """List prices, set your own, re-rate past calls."""


@verb(prices, "list", examples=("keygauge prices list gpt-4o", "keygauge prices list --own --output json"))
@click.argument("model", required=False)
@click.option("--own", is_flag=True, help="Only your own prices.")
@click.option("--past", is_flag=True, help="Include replaced own prices.")
@most_option()
def _list(*, api: Api, output: Output, model: str | None, own: bool, past: bool, most: int | None) -> None:
    """List current and future prices of models whose name contains MODEL."""
    chosen = {"model": model, "source": "own" if own else None, "past": "1" if past else None}
    found = api.all("prices", "in-force", field="prices", most=most, **chosen)
    output.items("prices", found, _columns(api, output), key="model")


@verb(
    prices,
    "create",
    examples=(
        "keygauge prices create house-model --tier input=0.5,output=2",
        "keygauge prices create gpt-4o --account Acme --from 2030-01-01 --tier input=2,output=8",
    ),
)
@click.argument("model")
@click.option("--tier", "tiers", multiple=True, required=True, metavar="[ABOVE:]KIND=USD,…", help=_TIER_HELP)
@click.option("--provider", help="Only for this provider (default: any).")
@account_option("Only for this account (default: all).")
@click.option("--from", "valid_from", type=Time(), help="2030-01-31, or 7d from now (default: now).")
def _create(
    *,
    api: Api,
    output: Output,
    model: str,
    tiers: Sequence[str],
    provider: str | None,
    account: str | None,
    valid_from: str | None,
) -> None:
    """Set a model's price from a given time on; name the model as in responses."""
    try:
        rates = [rate.to_json() for rate in parse_tiers(list(tiers))]
    except Problem as problem:
        raise CommandError(explain(problem.document(), {"tiers": list(tiers)})) from problem
    body: Document = {
        "model": model,
        "tiers": rates,
        "provider": provider,
        "account": account_id(api, account),
        "valid_from": valid_from,
    }
    output.item(api.post("prices", body=body), _columns(api, output), key="version")


@prices.command("rerate", examples=("keygauge prices rerate --from 2030-01-01 --to 2030-02-01 --account Acme",))
@click.option(
    "--from", "start", type=Time(is_past=True), required=True, help="Start of the range; rounded to whole UTC days."
)
@click.option("--to", "end", type=Time(is_past=True), help="End of the range (default: now).")
@account_option("This account's calls only (default: all).")
def _rerate(start: str, end: str | None, account: str | None) -> None:
    """Recompute the cost of past calls with current prices. Needs direct access to the database."""
    days = rerate.days_of(_at(start), _at(end) if end else datetime.now(UTC))
    if not 1 <= len(days) <= _DAYS_MAX:
        raise CommandError(f"use a range of 1 to {_DAYS_MAX} days")
    with connected(autocommit=True) as connection:
        of_account = account and require_account(connection, account)
        book = price_book.load()
        book.refresh(connection)
        running = rerate.run(connection, days, book, account_id=of_account, actor=ACTOR)
        total = sum(
            (day for _, day in track(running, description="Re-rating", total=len(days), console=Console(stderr=True))),
            rerate.Rerated(),
        )
    difference = Decimal(total.difference_nanousd).scaleb(-9)
    click.echo(
        f"{counted(len(days), 'day')}: {total.changed:,} of {counted(total.events, 'call')} changed, "
        f"{difference:+f} US dollars in all."
    )


def _at(text: str) -> datetime:
    return parse_time(text) or datetime.now(UTC)
