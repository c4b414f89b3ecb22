"""`keygauge calls`: list calls, or follow them live."""

from __future__ import annotations

import time as clock
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from keygauge.command_line.command import Noun
from keygauge_keyservice.commands.connection.client import Api
from keygauge_keyservice.commands.connection.document import Document
from keygauge_keyservice.commands.terminal.name_columns import Names, named
from keygauge_keyservice.commands.terminal.names import find_account, find_key
from keygauge_keyservice.commands.terminal.options import Time, account_option, most_option, sort_option, verb
from keygauge_keyservice.commands.terminal.output import Column, Output, column, number, time, usd

_DETAILS = (
    column("method"),
    column("route"),
    number("status"),
    column("model"),
    number("input_tokens"),
    number("output_tokens"),
    usd("cost_nanousd"),
    Column("ms", lambda call: round(call["duration_us"] / 1000), is_number=True),
    column("tag"),
    column("ip", "address"),
    column("error"),
)
_POLL_S = 1.0


def _columns(api: Api, output: Output, account: str) -> tuple[Column, ...]:
    key = named(Names(api, "keys", account=account), output, "key", lambda call: call["key_id"])
    return (time("time"), *key, *_DETAILS)


@click.group(cls=Noun)
def calls() -> None:
    """List calls, or follow them."""


def _filters(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(
        (
            account_option(),
            click.option("--key", metavar="ID|NAME", help="Only this key's calls."),
            click.option("--status", help="Only this status, such as 429, or class, such as 4xx."),
            click.option("--route", help="Only calls to this endpoint."),
            click.option("--model", help="Only calls to this model."),
            click.option("--tag", help="Only calls for this end user."),
            click.option("--ip", help="Only calls from this address."),
        )
    ):
        function = option(function)
    return function


@verb(
    calls,
    "list",
    examples=(
        "keygauge calls list --account Acme --status 4xx --from 1h",
        "keygauge calls list --account Acme --key production --limit 1000 --output csv",
    ),
)
@_filters
@click.option(
    "--from",
    "start",
    type=Time(is_past=True),
    help="Start of the range: 2030-01-31, or 1h for an hour ago (default: 30d).",
)
@click.option("--to", "end", type=Time(is_past=True), help="End of the range (default: now).")
@sort_option("time", default="-time")
@most_option(100)
def _list(
    *, api: Api, output: Output, most: int, start: str | None, end: str | None, sort: str, **chosen: str | None
) -> None:
    """List calls."""
    query: dict[str, Any] = _query(api, chosen) | {"from": start, "to": end, "sort": sort}
    found = api.all("calls", field="calls", most=most, **query)
    output.items("calls", found, _columns(api, output, query["account"]))


@verb(calls, "tail", examples=("keygauge calls tail --account Acme", "keygauge calls tail --account Acme --status 5xx"))
@_filters
def _tail(*, api: Api, output: Output, **chosen: str | None) -> None:
    """Follow calls as they reach the ledger, oldest first, until Ctrl-C; JSON has one object per line."""
    query = _query(api, chosen)
    output.follow(_follow(api, query, wait=clock.sleep), _columns(api, output, query["account"]))


def _follow(api: Api, query: dict[str, Any], *, wait: Callable[[float], None]) -> Iterator[Document]:
    """Yield calls as they appear; late reports from replicas are included for up to a minute."""
    seen: set[str] = set()
    started = datetime.now(UTC)
    while True:
        since = max(started, datetime.now(UTC) - timedelta(minutes=1))
        params: dict[str, Any] = query | {"from": since.isoformat()}
        page = list(api.all("calls", field="calls", **params))
        yield from (call for call in reversed(page) if call["id"] not in seen)
        seen = {call["id"] for call in page}
        wait(_POLL_S)


def _query(api: Api, chosen: dict[str, str | None]) -> dict[str, Any]:
    account, key = chosen.pop("account"), chosen.pop("key")
    found = find_account(api, account)["id"]
    return {"account": found, "key": key and find_key(api, key, found)["id"], **chosen}
