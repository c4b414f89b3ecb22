"""How fast an account calls right now, against the rates of its plan: from the ledger, so some seconds behind."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from keygauge_keyservice.database import Connection

_MINUTE_S = 60
_EVENTS_MAX = 200_000  # looked at for one rate


@dataclass(frozen=True)
class Rate:
    """A rate of the account's plan, and what the ledger counts in its last window."""

    name: str
    unit: Literal["request", "token", "nanousd"]
    amount: int
    window_s: int
    used: int


@dataclass(frozen=True)
class Pace:
    """The last minute's calls that no limit refused, their tokens, and the rates that count the whole account."""

    requests_per_minute: int
    tokens_per_minute: int
    rates: tuple[Rate, ...]


_RATES = """/* pace.rates */
SELECT plan_limit.name, unit, amount, window_s FROM account JOIN plan_limit USING (plan_id)
WHERE account.id = %s AND window_s IS NOT NULL AND subject = 'account' ORDER BY plan_limit.name"""
_COUNT = """/* pace.count */
SELECT count(*) AS request, coalesce(sum(tokens), 0)::bigint AS token, coalesce(sum(cost_nanousd), 0)::bigint AS nanousd
FROM (
    SELECT coalesce(input_tokens, 0) + coalesce(output_tokens, 0) AS tokens, cost_nanousd FROM event
    WHERE account_id = %s AND time > %s AND time <= %s AND outcome NOT IN ('limited', 'quota')
    LIMIT %s
) AS latest"""


def find_pace(connection: Connection, account_id: str, *, now: datetime | None = None) -> Pace:
    """Count an account's latest calls."""
    now = now or datetime.now(UTC)
    limits = connection.execute(_RATES, (account_id,)).fetchall()
    windows = {_MINUTE_S, *(limit["window_s"] for limit in limits)}
    used = {window_s: _count(connection, account_id, window_s, now) for window_s in windows}
    return Pace(
        requests_per_minute=used[_MINUTE_S]["request"],
        tokens_per_minute=used[_MINUTE_S]["token"],
        rates=tuple(Rate(**limit, used=used[limit["window_s"]][limit["unit"]]) for limit in limits),
    )


def _count(connection: Connection, account_id: str, window_s: int, now: datetime) -> dict[str, int]:
    since = now - timedelta(seconds=window_s)
    row = connection.execute(_COUNT, (account_id, since, now, _EVENTS_MAX), prepare=False).fetchone()
    return row or {"request": 0, "token": 0, "nanousd": 0}
