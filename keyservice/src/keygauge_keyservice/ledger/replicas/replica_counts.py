"""What each process says that it counted, kept by hour beside what the ledger took from its spool."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from keygauge.protocol import Hour, Report
from keygauge_keyservice.database import Connection
from keygauge_keyservice.ledger.event import AGE_MAX, AHEAD_MAX

_KEEP = """/* report.keep */
INSERT INTO spool_hour AS kept (
    spool_id, hour, reported_requests, reported_input_tokens, reported_output_tokens, reported_at, written)
SELECT %s, to_timestamp(hour_s), requests, input_tokens, output_tokens, clock_timestamp(), %s
FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[])
    AS report (hour_s, requests, input_tokens, output_tokens)
ON CONFLICT (spool_id, hour) DO UPDATE SET
    reported_requests = greatest(kept.reported_requests, excluded.reported_requests),
    reported_input_tokens = greatest(kept.reported_input_tokens, excluded.reported_input_tokens),
    reported_output_tokens = greatest(kept.reported_output_tokens, excluded.reported_output_tokens),
    reported_at = excluded.reported_at,
    written = greatest(kept.written, excluded.written)
WHERE kept.reported_requests < excluded.reported_requests
    OR kept.reported_input_tokens < excluded.reported_input_tokens
    OR kept.reported_output_tokens < excluded.reported_output_tokens"""


def keep(connection: Connection, report: Report, *, now: datetime | None = None) -> None:
    """Keep a report in the caller's transaction; counts only grow, so one that comes twice or late changes nothing."""
    connection.execute(
        "/* report.spool */ INSERT INTO spool AS kept (id, next, updated_at, replica, service, host, reported_at) "
        "VALUES (%s, 0, clock_timestamp(), %s, %s, %s, clock_timestamp()) "
        "ON CONFLICT (id) DO UPDATE SET replica = excluded.replica, service = excluded.service, host = excluded.host, "
        "reported_at = excluded.reported_at",
        (report.spool, report.replica, report.service, report.host),
    )
    columns = _columns([hour for hour in report.hours if _is_near(hour, now or datetime.now(UTC))])
    connection.execute(_KEEP, (report.spool, report.written, *columns))


def _columns(hours: Sequence[Hour]) -> list[list[int]]:
    """Turn hours into columns, in one order of locks."""
    rows = sorted((hour.hour, hour.requests, hour.input_tokens, hour.output_tokens) for hour in hours)
    return [list(column) for column in zip(*rows, strict=True)] or [[], [], [], []]


def _is_near(hour: Hour, now: datetime) -> bool:
    """Return whether an event of that hour could be taken: see `Window` in `ledger.event`."""
    return (now - AGE_MAX - timedelta(hours=1)).timestamp() <= hour.hour < (now + AHEAD_MAX).timestamp()
