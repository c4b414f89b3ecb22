"""How fast an account is now: what it did in the last minute, against its limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from keygauge_keyservice.database import Connection
from keygauge_keyservice.plans import Limit

WINDOW_S = 60
_MEASURED = {"request": "requests", "token": "tokens"}


@dataclass(frozen=True)
class Pace:
    """What of a unit was used in the last minute; `limit` is a minute's part of the tightest rate, None without one."""

    unit: str
    used: int
    limit: int | None

    @property
    def percent(self) -> float:
        """Return how much of the limit is used, at most 100."""
        return min(100.0, 100 * self.used / self.limit) if self.limit else 0.0


def find_paces(
    connection: Connection, account_id: str, limits: Sequence[Limit], *, now: datetime | None = None
) -> list[Pace]:
    """Count what the ledger has of the last minute; it is a few seconds behind."""
    row = connection.execute(
        "/* pace.find */ SELECT count(*) AS requests, "
        "coalesce(sum(coalesce(input_tokens, 0) + coalesce(output_tokens, 0)), 0)::bigint AS tokens FROM event "
        "WHERE account_id = %s AND time > %s AND outcome = 'admitted'",
        (account_id, (now or datetime.now(UTC)) - timedelta(seconds=WINDOW_S)),
        prepare=False,
    ).fetchone() or {"requests": 0, "tokens": 0}
    return [Pace(noun, row[noun], _limit(limits, unit)) for unit, noun in _MEASURED.items()]


def _limit(limits: Sequence[Limit], unit: str) -> int | None:
    """Return the tightest rate of the whole account for a minute."""
    amounts = [
        limit.amount * WINDOW_S // limit.window_s
        for limit in limits
        if limit.unit == unit and limit.window_s and limit.subject == "account"
    ]
    return min(amounts, default=None)
