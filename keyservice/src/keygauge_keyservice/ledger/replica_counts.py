"""What each process says that it counted, kept by hour beside what the ledger took from its spool."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, NoReturn

from keygauge_keyservice.database import Connection
from keygauge_keyservice.errors import FieldError, Problem
from keygauge_keyservice.ledger.event import AGE_MAX, AHEAD_MAX

HOURS_MAX = 500  # in one report
HOUR_S = 3_600
_INTEGER_MAX = 2**53 - 1
_TEXT_LENGTH_MAX = 200

_is_id = re.compile(r"[0-9a-f]{1,64}", re.ASCII).fullmatch

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


class Hour(NamedTuple):
    """What a process counted of the calls that arrived in one hour."""

    start_s: int  # unix
    requests: int
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True)
class Report:
    """One report of one process."""

    spool: str
    replica: str
    service: str
    host: str
    written: int  # the number of the spool's next event, after these were counted
    hours: tuple[Hour, ...]


def parse(document: Any) -> Report:
    """Read a report; fields that are not known are passed over, for replicas that are newer than the service.

    Raises:
        Problem: 422 `bad_report`; nothing of such a report is kept.
    """
    if not isinstance(document, dict):
        _refuse("body", "is no JSON object")
    hours = document.get("hours")
    if not isinstance(hours, list) or len(hours) > HOURS_MAX:
        _refuse("hours", f"is no list of at most {HOURS_MAX}")
    report = Report(
        spool=_id(document, "spool"),
        replica=_id(document, "replica"),
        service=_text(document, "service"),
        host=_text(document, "host"),
        written=_count(document, "written"),
        hours=tuple(_hour(item, f"hours[{index}]") for index, item in enumerate(hours)),
    )
    if len({hour.start_s for hour in report.hours}) < len(report.hours):
        _refuse("hours", "names an hour twice")
    return report


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
    return [list(column) for column in zip(*sorted(hours), strict=True)] or [[], [], [], []]


def _is_near(hour: Hour, now: datetime) -> bool:
    """Tell whether an event of that hour could be taken: see `ledger.take_batch`."""
    return (now - AGE_MAX - timedelta(hours=1)).timestamp() <= hour.start_s < (now + AHEAD_MAX).timestamp()


def _hour(item: Any, at: str) -> Hour:
    if not isinstance(item, dict):
        _refuse(at, "is no JSON object")
    hour = Hour(*(_count(item, name, at) for name in ("hour", "requests", "input_tokens", "output_tokens")))
    if hour.start_s % HOUR_S:
        _refuse(f"{at}.hour", "is no whole hour")
    return hour


def _id(document: dict[str, Any], field: str) -> str:
    value = document.get(field)
    if not isinstance(value, str) or not _is_id(value):
        _refuse(field, "is no 1 to 64 hexadecimal digits")
    return value


def _text(document: dict[str, Any], field: str) -> str:
    value = document.get(field)
    if not isinstance(value, str) or len(value) > _TEXT_LENGTH_MAX or not value.isprintable():
        _refuse(field, f"is no text of at most {_TEXT_LENGTH_MAX} printable characters")
    return value


def _count(document: dict[str, Any], field: str, at: str = "") -> int:
    value = document.get(field)
    if type(value) is not int or not 0 <= value <= _INTEGER_MAX:
        _refuse(f"{at}.{field}" if at else field, f"is no whole number from 0 to {_INTEGER_MAX}")
    return value


def _refuse(field: str, complaint: str) -> NoReturn:
    raise Problem(422, "bad_report", f"{field} {complaint}.", errors=[FieldError(field, "wrong", complaint)])
