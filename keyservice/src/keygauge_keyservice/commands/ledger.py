"""`keygauge ledger`: drop what is past its retention."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime, timedelta

from rich.console import Console

from keygauge.command import Subparsers
from keygauge_keyservice import partition
from keygauge_keyservice.commands.session import connected
from keygauge_keyservice.ledger import RETENTION


def register(subparsers: Subparsers) -> None:
    """Add the commands."""
    parser = subparsers.add_parser("ledger", help="keep the ledger in order")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    prune = verbs.add_parser("prune", help="drop whole months of single calls; the totals stay; run it from cron")
    prune.add_argument(
        "--days", type=_days, default=RETENTION.days, help="keep the calls of so many days (default: %(default)s)"
    )
    prune.set_defaults(run=_prune)


def _prune(arguments: argparse.Namespace) -> int:
    with connected() as connection:
        months = partition.drop_before(connection, datetime.now(UTC) - timedelta(days=arguments.days))
    dropped = ", ".join(f"{month:%Y-%m}" for month in months)
    Console().print(f"Dropped {dropped}." if months else "Nothing to drop.")
    return 0


def _days(text: str) -> int:
    days = int(text)
    if not 1 <= days <= 3660:  # noqa: PLR2004 - told in the message
        raise argparse.ArgumentTypeError("give 1 to 3660 days")
    return days
