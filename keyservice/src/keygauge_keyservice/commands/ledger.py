"""`keygauge ledger`: drop what is past its retention, compare its parts, and take what was set aside."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from rich.table import Table

from keygauge.command import CommandError, Subparsers
from keygauge_keyservice import config
from keygauge_keyservice.commands.output import output
from keygauge_keyservice.commands.session import connected, told_plainly
from keygauge_keyservice.config import RETENTION_DAYS_MAX
from keygauge_keyservice.ledger import addresses, aside, ingest, partition, reconcile, replica_check
from keygauge_keyservice.pricing.price_book import PriceBook
from keygauge_keyservice.pricing.public_prices import PublicPrices

_HOURS_MAX = 24 * 366
_GRACE_S_MAX = 7 * 86_400


def register(subparsers: Subparsers) -> None:
    """Add the commands."""
    parser = subparsers.add_parser("ledger", help="keep the ledger in order")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    prune = verbs.add_parser(
        "prune", help="drop whole months of single calls; the totals stay; the service does it daily"
    )
    prune.add_argument(
        "--days", type=_days, help="keep the calls of so many days (default: KEYGAUGE_RETENTION_DAYS, or 400)"
    )
    prune.set_defaults(run=_prune)
    compare = verbs.add_parser(
        "reconcile",
        help="compare calls with totals, and with what each replica counted, hour by hour; 1 if they differ",
    )
    compare.add_argument("--hours", type=_hours, default=48, help="so far back from now (default: %(default)s)")
    compare.add_argument(
        "--grace",
        type=_seconds,
        default=int(replica_check.GRACE.total_seconds()),
        help="leave out a replica's hour that changed within so many seconds (default: %(default)s)",
    )
    compare.set_defaults(run=_reconcile)
    set_aside = verbs.add_parser("aside", help="list the events that were set aside, by service, reason and key")
    set_aside.set_defaults(run=_list_aside)
    retake = verbs.add_parser("retake", help="take a service's events that were set aside for a reason, for good")
    retake.add_argument("reason", help="as `aside` tells it, e.g. implausible_event")
    retake.add_argument("--service", default="", help="the name of its token (default: the environment's token)")
    retake.set_defaults(run=_retake)


def _prune(arguments: argparse.Namespace) -> int:
    with told_plainly():
        days = arguments.days or config.retention_days()
    with connected(autocommit=True) as connection:
        try:
            months = partition.drop_before(connection, datetime.now(UTC) - timedelta(days=days))
            addresses.prune(connection)
        except partition.PartitionError as error:
            raise CommandError(str(error)) from error
    dropped = ", ".join(f"{month:%Y-%m}" for month in months)
    output().print(f"Dropped {dropped}." if months else "Nothing to drop.")
    return 0


def _reconcile(arguments: argparse.Namespace) -> int:
    last = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    first = last - timedelta(hours=arguments.hours)
    with connected(autocommit=True) as connection:
        drift = reconcile.find_drift(connection, first, last)
        differences = replica_check.find_differences(connection, first, grace=timedelta(seconds=arguments.grace))
        reported = replica_check.count_reported(connection, first, grace=timedelta(seconds=arguments.grace))
    console = output()
    if drift:
        console.print(_table_of_drift(drift))
    else:
        console.print(f"Calls, roll-ups and usage_aggregates agree in the last {arguments.hours} hours.")
    if differences:
        console.print(_table_of_differences(differences))
    else:
        console.print(f"The replicas agree with the ledger: they reported {reported:,} calls in settled hours.")
    return 1 if drift or differences else 0


def _list_aside(_: argparse.Namespace) -> int:
    with connected() as connection:
        found = aside.count(connection)
    if not found:
        output().print("No events are set aside.")
        return 0
    table = Table("service", "reason", "key", "first", "last", title="events that are not in the ledger")
    table.add_column("events", justify="right")
    for row in found:
        times = (f"{row[name]:%Y-%m-%d %H:%M}" for name in ("first_at", "last_at"))
        table.add_row(
            row["service"] or "(environment)", row["reason"], row["key_id"] or "-", *times, str(row["events"])
        )
    output().print(table)
    return 0


def _retake(arguments: argparse.Namespace) -> int:
    with connected(autocommit=True) as connection:
        found = aside.find(connection, service=arguments.service, reason=arguments.reason)
        book = PriceBook(PublicPrices())
        book.refresh(connection)
        taken = sum(ingest.retake(connection, ids, book, now=datetime.now(UTC)) for ids in aside.batches(found))
    output().print(f"Took {taken} of {len(found)} events.")
    return 0 if taken == len(found) else 1


def _table_of_drift(drift: Sequence[reconcile.Drift]) -> Table:
    table = Table("hour (UTC)", "account", title="the ledger's own parts: calls, tokens, nano-USD")
    for name in ("events", "roll-ups", "usage_aggregates"):
        table.add_column(name, justify="right")
    for hour in drift:
        sums = (", ".join(map(str, part)) for part in (hour.events, hour.rollups, hour.usage_aggregates))
        table.add_row(f"{hour.hour:%Y-%m-%d %H:00}", hour.account_id, *sums)
    return table


def _table_of_differences(differences: Sequence[replica_check.Difference]) -> Table:
    table = Table("hour (UTC)", "service", "host", "spool", title="calls, input tokens, output tokens")
    for name in ("replica counted", "ledger took"):
        table.add_column(name, justify="right")
    for one in differences:
        sums = (", ".join(map(str, part)) for part in (one.reported, one.taken))
        table.add_row(f"{one.hour:%Y-%m-%d %H:00}", one.service, one.host, one.spool, *sums)
    return table


def _seconds(text: str) -> int:
    seconds = int(text)
    if not 0 <= seconds <= _GRACE_S_MAX:
        raise argparse.ArgumentTypeError(f"give 0 to {_GRACE_S_MAX} seconds")
    return seconds


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
