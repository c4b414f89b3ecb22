"""Groups of failed calls with the same status, error, key and IP address in the last hour."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from keygauge_keyservice.database import Connection

SPAN = timedelta(hours=1)
_CALLS_MIN, _SHOWN_MAX = 3, 5
_SCANNED_MAX = 20_000  # newest calls scanned

_FIND = """/* calls.failures */
SELECT status, error, ip, key_id, count(*) AS calls FROM (
    SELECT status, error, ip, key_id FROM event
    WHERE account_id = %(account_id)s AND time >= %(since)s AND time <= %(now)s AND outcome <> 'part'
    ORDER BY time DESC, id DESC LIMIT %(scanned_max)s
) AS newest
WHERE status >= 400 GROUP BY status, error, ip, key_id HAVING count(*) >= %(least)s
ORDER BY calls DESC, status, ip, key_id LIMIT %(most)s"""


@dataclass(frozen=True)
class Failures:
    """A group of failed calls, and its size."""

    status: int
    error: str | None
    ip: str | None
    key_id: str
    calls: int


def find_failures(connection: Connection, account_id: str, *, now: datetime | None = None) -> list[Failures]:
    """Return an account's most frequent failures in the last hour, among its newest calls."""
    now = now or datetime.now(UTC)
    values = {
        "account_id": account_id,
        "since": now - SPAN,
        "now": now,
        "scanned_max": _SCANNED_MAX,
        "least": _CALLS_MIN,
        "most": _SHOWN_MAX,
    }
    return [Failures(**row) for row in connection.execute(_FIND, values, prepare=False)]
