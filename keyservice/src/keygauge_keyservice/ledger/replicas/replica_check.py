"""Reconciliation with the replicas: what each process counted in each hour against what the ledger took from it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from keygauge_keyservice.database import Connection

GRACE = timedelta(minutes=2)  # a report follows its batches within 10 s; see keygauge.spool.reporter
PERIOD = timedelta(days=1)  # that the scheduled check looks back
_MOST = 2**63 - 1


def _sum(column: str) -> str:
    """Return an expression for a sum that absurd reports, as with a leaked token, cannot make too large to keep."""
    return f"least(coalesce(sum({column}), 0), {_MOST})::bigint"


# An hour is settled when neither side has changed for the grace.
_SETTLED = """
FROM replica_check
WHERE hour >= date_trunc('hour', %(since)s::timestamptz, 'UTC') AND changed_at < clock_timestamp() - %(grace)s"""
_FIND = f"""/* replica_check.find */
SELECT spool_id, service, host, hour, reported_requests, requests, reported_input_tokens, input_tokens,
    reported_output_tokens, output_tokens
{_SETTLED}
    AND (missing_requests + surplus_requests > 0 OR missing_tokens + surplus_tokens > 0)
ORDER BY hour, service, host, spool_id"""
_COUNT = f"""/* replica_check.count */
SELECT {_sum("reported_requests")} AS requests
{_SETTLED}"""
_CHECK = f"""/* replica_check.check */
INSERT INTO ledger_check AS newest (
    at, requests, missing_requests, missing_tokens, surplus_requests, surplus_tokens)
SELECT clock_timestamp(), {_sum("reported_requests")}, {_sum("missing_requests")}, {_sum("missing_tokens")},
    {_sum("surplus_requests")}, {_sum("surplus_tokens")}
{_SETTLED}
ON CONFLICT (is_newest) DO UPDATE SET
    at = excluded.at, requests = excluded.requests,
    missing_requests = excluded.missing_requests, missing_tokens = excluded.missing_tokens,
    surplus_requests = excluded.surplus_requests, surplus_tokens = excluded.surplus_tokens
RETURNING at, requests, missing_requests, missing_tokens, surplus_requests, surplus_tokens"""


@dataclass(frozen=True)
class Difference:
    """A process and an hour that do not agree; each triple is calls, input tokens and output tokens."""

    spool: str
    service: str
    host: str
    hour: datetime
    reported: tuple[int, int, int]
    taken: tuple[int, int, int]


@dataclass(frozen=True)
class Check:
    """What a comparison found: sums over the processes and settled hours it looked at."""

    at: datetime
    requests: int  # reported
    missing_requests: int
    missing_tokens: int
    surplus_requests: int
    surplus_tokens: int


def find_differences(connection: Connection, since: datetime, *, grace: timedelta = GRACE) -> list[Difference]:
    """Return the settled hours from `since` on that differ, whatever of them is still on its way left out."""
    rows = connection.execute(_FIND, {"since": since, "grace": grace})
    return [
        Difference(
            row["spool_id"],
            row["service"],
            row["host"],
            row["hour"],
            (row["reported_requests"], row["reported_input_tokens"], row["reported_output_tokens"]),
            (row["requests"], row["input_tokens"], row["output_tokens"]),
        )
        for row in rows
    ]


def count_reported(connection: Connection, since: datetime, *, grace: timedelta = GRACE) -> int:
    """Return how many requests the replicas reported in the settled hours from `since` on."""
    row = connection.execute(_COUNT, {"since": since, "grace": grace}).fetchone()
    return row["requests"] if row else 0


def check(connection: Connection, since: datetime, *, grace: timedelta = GRACE) -> Check:
    """Compare in the caller's transaction, and keep what was found for `/metrics`."""
    row = connection.execute(_CHECK, {"since": since, "grace": grace}).fetchone()
    assert row is not None  # noqa: S101 - for the type checker: the statement returns one row
    return Check(**row)


def find_check(connection: Connection) -> Check | None:
    """Return the newest comparison that was kept."""
    row = connection.execute(
        "/* replica_check.newest */ SELECT at, requests, missing_requests, missing_tokens, "
        "surplus_requests, surplus_tokens FROM ledger_check"
    ).fetchone()
    return Check(**row) if row else None
