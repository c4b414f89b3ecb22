"""`keygauge ledger`: delete expired calls, compare the ledger's parts, and accept events that were set aside."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import click
from rich.table import Table

from keygauge.command_line.command import CommandError, Noun
from keygauge.command_line.count import counted
from keygauge_keyservice import config
from keygauge_keyservice.commands.connection.session import command_errors, connected
from keygauge_keyservice.commands.terminal.options import Duration, output_options
from keygauge_keyservice.commands.terminal.output import Column, Output, column, number, output, time
from keygauge_keyservice.config import RETENTION_DAYS_MAX
from keygauge_keyservice.ledger import addresses, aside, ingest, partition
from keygauge_keyservice.ledger.replicas import reconcile, replica_check
from keygauge_keyservice.pricing import price_book
from keygauge_keyservice.pricing.kind_costs import unpack
from keygauge_keyservice.values.durations import write_duration

_ASIDE = (
    Column("service", lambda row: row["service"] or "(environment)"),
    column("reason"),
    column("key_id", "key"),
    time("first_at"),
    time("last_at"),
    number("events"),
)
_HOURS_MAX = 24 * 366
_GRACE_S = int(replica_check.GRACE.total_seconds())
_GRACE_S_MAX = 7 * 86_400


@click.group(cls=Noun)
def ledger() -> None:
    """Maintain the ledger. Needs direct access to the database."""


@ledger.command("prune", examples=("keygauge ledger prune --days 90",))
@click.option(
    "--days",
    type=click.IntRange(1, RETENTION_DAYS_MAX),
    help="Keep calls for this many days (default: KEYGAUGE_RETENTION_DAYS, or 400).",
)
def _prune(days: int | None) -> None:
    """Drop whole months of single calls; totals stay. The service does this daily."""
    with command_errors():
        days = days or config.retention_days()
    with connected(autocommit=True) as connection:
        try:
            months = partition.drop_before(connection, datetime.now(UTC) - timedelta(days=days))
            addresses.prune(connection)
        except partition.PartitionError as error:
            raise CommandError(str(error)) from error
    dropped = ", ".join(f"{month:%Y-%m}" for month in months)
    output().print(f"Dropped {dropped}." if months else "Nothing to drop.")


@ledger.command("reconcile", examples=("keygauge ledger reconcile --hours 24",))
@click.option(
    "--hours", type=click.IntRange(1, _HOURS_MAX), default=48, show_default=True, help="How many hours to look back."
)
@click.option(
    "--grace",
    type=Duration(),
    default=_GRACE_S,
    help=f"Skip hours of a replica that changed within this time (default: {write_duration(_GRACE_S)}).",
)
def _reconcile(hours: int, grace: int) -> int:
    """Compare calls with totals and with each replica's counts, hour by hour; exits with 1 if they differ."""
    if grace > _GRACE_S_MAX:
        raise click.UsageError(f"--grace: use at most {write_duration(_GRACE_S_MAX)}.")
    last = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    first = last - timedelta(hours=hours)
    with connected(autocommit=True) as connection:
        drift = reconcile.find_drift(connection, first, last)
        differences = replica_check.find_differences(connection, first, grace=timedelta(seconds=grace))
        reported = replica_check.count_reported(connection, first, grace=timedelta(seconds=grace))
    console = output()
    if drift:
        console.print(_table_of_drift(drift))
    else:
        console.print(f"Calls, roll-ups and usage aggregates agree for the last {counted(hours, 'hour')}.")
    if differences:
        console.print(_table_of_differences(differences))
    else:
        console.print(
            f"The replicas agree with the ledger: they reported {counted(reported, 'call')} in settled hours."
        )
    return 1 if drift or differences else 0


@ledger.command("aside", examples=("keygauge ledger aside", "keygauge ledger aside --output json"))
@output_options
def _list_aside(output: Output) -> None:
    """List the events set aside, by service, reason and key; `--quiet` prints the reasons."""
    with connected() as connection:
        found = aside.count(connection)
    times = ("first_at", "last_at")
    rows = [row | {name: row[name].isoformat() for name in times} for row in found]
    output.items("events", rows, _ASIDE, key="reason", title="Events that are not in the ledger")


@ledger.command("retake", examples=("keygauge ledger retake implausible_event --service shop",))
@click.argument("reason")
@click.option("--service", default="", help="The name of the service's token (default: the environment's token).")
def _retake(reason: str, service: str) -> int:
    """Accept a service's events that were set aside for REASON, as listed by `aside`."""
    with connected(autocommit=True) as connection:
        found = aside.find(connection, service=service, reason=reason)
        book = price_book.load()
        book.refresh(connection)
        taken = sum(ingest.retake(connection, ids, book, now=datetime.now(UTC)) for ids in aside.batches(found))
    output().print(f"Took {taken:,} of {counted(len(found), 'event')}.")
    return 0 if taken == len(found) else 1


def _table_of_drift(drift: Sequence[reconcile.Drift]) -> Table:
    table = Table("hour (UTC)", "account", title="the ledger's own parts: calls, tokens, nano-USD, of that by kind")
    for name in ("events", "roll-ups", "usage_aggregates"):
        table.add_column(name, justify="right")
    for hour in drift:
        sums = map(_write_sums, (hour.events, hour.rollups, hour.usage_aggregates))
        table.add_row(f"{hour.hour:%Y-%m-%d %H:00}", hour.account_id, *sums)
    return table


def _write_sums(sums: reconcile.Sums) -> str:
    *plain, cost, packed = sums
    kinds = (f"{kind} {part}" for kind, part in unpack(cost, packed).items())
    return ", ".join([*map(str, plain), str(cost), *kinds])


def _table_of_differences(differences: Sequence[replica_check.Difference]) -> Table:
    table = Table("hour (UTC)", "service", "host", "spool", title="calls, input tokens, output tokens")
    for name in ("replica counted", "ledger took"):
        table.add_column(name, justify="right")
    for one in differences:
        sums = (", ".join(map(str, part)) for part in (one.reported, one.taken))
        table.add_row(f"{one.hour:%Y-%m-%d %H:00}", one.service, one.host, one.spool, *sums)
    return table
