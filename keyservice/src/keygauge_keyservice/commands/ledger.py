"""`keygauge ledger`: drop what is past its retention, and compare its parts."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime, timedelta

from rich.console import Console
from rich.table import Table

from keygauge.command import CommandError, Subparsers
from keygauge_keyservice import config, partition, reconcile
from keygauge_keyservice.commands.session import connected, told_plainly
from keygauge_keyservice.config import RETENTION_DAYS_MAX

_HOURS_MAX = 24 * 366


def register(subparsers: Subparsers) -> None:
    """Add the commands."""
    parser = subparsers.add_parser("ledger", help="keep the ledger in order")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    prune = verbs.add_parser("prune", help="drop whole months of single calls; the totals stay; run it from cron")
    prune.add_argument(
        "--days", type=_days, help="keep the calls of so many days (default: KEYGAUGE_RETENTION_DAYS, or 400)"
    )
    prune.set_defaults(run=_prune)
    compare = verbs.add_parser("reconcile", help="compare single calls with both kinds of totals, hour by hour")
    compare.add_argument("--hours", type=_hours, default=48, help="so far back from now (default: %(default)s)")
    compare.set_defaults(run=_reconcile)


def _prune(arguments: argparse.Namespace) -> int:
    with told_plainly():
        days = arguments.days or config.retention_days()
    with connected(autocommit=True) as connection:
        try:
            months = partition.drop_before(connection, datetime.now(UTC) - timedelta(days=days))
        except partition.PartitionError as error:
            raise CommandError(str(error)) from error
    dropped = ", ".join(f"{month:%Y-%m}" for month in months)
    Console().print(f"Dropped {dropped}." if months else "Nothing to drop.")
    return 0


def _reconcile(arguments: argparse.Namespace) -> int:
    last = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    with connected() as connection:
        found = reconcile.find_drift(connection, last - timedelta(hours=arguments.hours), last)
    if not found:
        Console().print(f"Calls, roll-ups and margins agree in the last {arguments.hours} hours.")
        return 0
    table = Table("hour (UTC)", "account", title="calls, tokens, nano-USD")
    for name in ("events", "roll-ups", "margins"):
        table.add_column(name, justify="right")
    for drift in found:
        sums = (", ".join(map(str, part)) for part in (drift.events, drift.rollups, drift.margins))
        table.add_row(f"{drift.hour:%Y-%m-%d %H:00}", drift.account_id, *sums)
    Console().print(table)
    return 1


def _hours(text: str) -> int:
    hours = int(text)
    if not 1 <= hours <= _HOURS_MAX:
        raise argparse.ArgumentTypeError(f"give 1 to {_HOURS_MAX} hours")
    return hours


def _days(text: str) -> int:
    days = int(text)
    if not 1 <= days <= RETENTION_DAYS_MAX:
        raise argparse.ArgumentTypeError(f"give 1 to {RETENTION_DAYS_MAX} days")
    return days
