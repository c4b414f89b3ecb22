"""`keygauge usage`: what was used, by model, key, route, status or account, and what is left of the budgets."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import cast, get_args

from rich.markup import escape
from rich.table import Table

from keygauge.command import CommandError, Subparsers
from keygauge_keyservice.accounts import accounts
from keygauge_keyservice.commands.cli_time import moment
from keygauge_keyservice.commands.output import output
from keygauge_keyservice.commands.session import connected
from keygauge_keyservice.csv_stream import usd
from keygauge_keyservice.usage import kinds, usage
from keygauge_keyservice.usage.query import Grouping
from keygauge_keyservice.usage.quota import Quota, find_quotas
from keygauge_keyservice.usage.sums import UsageSums

_COLUMNS = ("requests", "limited", "errors", "input tokens", "output tokens", "cost (USD)", "p50 (s)", "p95 (s)")


def register(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser("usage", help="show what was used and what is left")
    parser.add_argument("account", nargs="?", help="all accounts where it is absent")
    parser.add_argument("--key", help="only this key's calls")
    parser.add_argument(
        "--by",
        type=_dimensions,
        default=("model",),
        metavar="NAME,…",
        help=f"one or more of {', '.join(get_args(Grouping))} (default: model)",
    )
    parser.add_argument("--from", dest="start", type=moment, help="e.g. 2030-01-31T12:00:00Z; default: 30 days before")
    parser.add_argument("--to", dest="end", type=moment, help="default: now")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    end = arguments.end or datetime.now(UTC)
    selection = usage.Selection(
        account_id=arguments.account, key_id=arguments.key, start=arguments.start or end - timedelta(days=30), end=end
    )
    with connected() as connection:
        if arguments.account:
            accounts.require(connection, arguments.account)
        try:
            totals = usage.totals(connection, **selection)
            parts = usage.breakdown(connection, by=arguments.by, **selection)
        except usage.UsageError as error:
            raise CommandError(str(error)) from error
        quotas = find_quotas(connection, arguments.account) if arguments.account else []
    console = output()
    console.print(_usage_table(arguments.by, parts, totals))
    if totals.details:
        console.print(_kinds_table(totals))
    if quotas:
        console.print(_quota_table(quotas))
    return 0


def _dimensions(text: str) -> tuple[Grouping, ...]:
    names = tuple(text.split(","))
    if not set(names) <= set(get_args(Grouping)) or len(set(names)) < len(names):
        raise argparse.ArgumentTypeError(f"give some of {', '.join(get_args(Grouping))}, with commas between them")
    return cast("tuple[Grouping, ...]", names)


def _usage_table(by: Sequence[Grouping], parts: Sequence[usage.Part], totals: usage.Totals) -> Table:
    table = Table(*by, title=f"{totals.start:%Y-%m-%d %H:%M} to {totals.end:%Y-%m-%d %H:%M} UTC", show_footer=True)
    table.columns[0].footer = "total"
    for name, figure in zip(_COLUMNS, _figures(totals), strict=True):
        table.add_column(name, justify="right", footer=figure)
    for part in parts:
        table.add_row(*(escape(name) or "-" for name in part.names), *_figures(part))
    return table


def _kinds_table(totals: usage.Totals) -> Table:
    table = Table("kind", title="Other kinds of use")
    table.add_column("count", justify="right")
    for _, title, count in kinds.told(totals.details):
        table.add_row(escape(title), f"{count:,}")
    return table


def _quota_table(quotas: Sequence[Quota]) -> Table:
    table = Table("budget", "key", "unit", title="Budgets of the current periods")
    for name in ("used", "held by replicas", "amount", "resets"):
        table.add_column(name, justify="right")
    for quota in quotas:
        figures = [_in_unit(quota, number) for number in (quota.used, quota.reserved, quota.amount)]
        unit = "credit" if quota.credit_nanousd else "USD" if quota.unit == "nanousd" else quota.unit
        table.add_row(quota.name, quota.key_id or "-", unit, *figures, f"{quota.resets_at:%Y-%m-%d}")
    return table


def _in_unit(quota: Quota, number: int) -> str:
    if quota.credit_nanousd:
        return f"{number / quota.credit_nanousd:,.2f}"
    return f"{usd(number):,.4f}" if quota.unit == "nanousd" else f"{number:,}"


def _figures(tally: UsageSums) -> list[str]:
    counts = (tally.requests, tally.limited, tally.client_errors + tally.server_errors)
    tokens = (tally.input_tokens, tally.output_tokens)
    times = (tally.percentile_s(0.5), tally.percentile_s(0.95))
    return [
        *(f"{count:,}" for count in (*counts, *tokens)),
        f"{tally.cost_usd:,.4f}",
        *("-" if time is None else f"{time:.3f}" for time in times),
    ]
