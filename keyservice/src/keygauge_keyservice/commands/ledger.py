"""`keygauge ledger`: drop what is past its retention."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime, timedelta

from rich.console import Console

from keygauge.command import CommandError, Subparsers
from keygauge_keyservice import config, partition
from keygauge_keyservice.commands.session import connected, told_plainly
from keygauge_keyservice.config import RETENTION_DAYS_MAX


def register(subparsers: Subparsers) -> None:
    """Add the commands."""
    parser = subparsers.add_parser("ledger", help="keep the ledger in order")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    prune = verbs.add_parser("prune", help="drop whole months of single calls; the totals stay; run it from cron")
    prune.add_argument(
        "--days", type=_days, help="keep the calls of so many days (default: KEYGAUGE_RETENTION_DAYS, or 400)"
    )
    prune.set_defaults(run=_prune)


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


def _days(text: str) -> int:
    days = int(text)
    if not 1 <= days <= RETENTION_DAYS_MAX:
        raise argparse.ArgumentTypeError(f"give 1 to {RETENTION_DAYS_MAX} days")
    return days
