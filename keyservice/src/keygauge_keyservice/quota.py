"""How much of its budgets an account has used in the current day or month."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from keygauge_keyservice import budget, usage
from keygauge_keyservice.database import Connection
from keygauge_keyservice.tally import Tally


@dataclass(frozen=True)
class Quota:
    """One budget of an account, or of one of its keys, in its current period."""

    name: str
    unit: Literal["request", "token", "nanousd"]
    period: Literal["day", "month"]
    key_id: str | None  # None: it counts the whole account
    amount: int
    used: int  # spent or burnt
    reserved: int  # held by replicas: spent, returned or burnt when their leases end
    counted: int  # what the ledger has of the period: calls that no limit refused, their tokens or their cost
    resets_at: datetime
    credit_nanousd: int | None = None  # a budget of cost that people see in credits: what one is worth

    @property
    def remaining(self) -> int:
        """What no replica holds and nobody has used."""
        return max(0, self.amount - self.used - self.reserved)


_FIND = """/* quota.find */
SELECT plan_limit.name, unit, period, amount, credit_nanousd, head, cells[1] AS used, subject.key_id,
    (SELECT coalesce(sum(units), 0)::bigint FROM lease
     WHERE state_id = state.id AND bucket = head AND ends_at > %(now)s) AS reserved
FROM account
JOIN plan_limit ON plan_limit.plan_id = account.plan_id AND period IS NOT NULL
JOIN LATERAL (
    SELECT account.id AS id, NULL AS key_id WHERE subject = 'account'
    UNION ALL
    SELECT key.id, key.id FROM key
    WHERE subject = 'key' AND key.account_id = account.id AND key.status <> 'deleted'
) AS subject ON true
LEFT JOIN limit_state AS state ON state.id = plan_limit.id || ':' || subject.id
WHERE account.id = %(account_id)s
ORDER BY plan_limit.name, subject.id"""

_FIND_OF_KEY = """/* quota.find_of_key */
SELECT key.account_id, plan_limit.name, unit, period, amount, credit_nanousd, head, cells[1] AS used, key.id AS key_id,
    (SELECT coalesce(sum(units), 0)::bigint FROM lease
     WHERE state_id = state.id AND bucket = head AND ends_at > %(now)s) AS reserved
FROM key JOIN plan_limit ON plan_limit.key_id = key.id AND period IS NOT NULL
LEFT JOIN limit_state AS state ON state.id = plan_limit.id || ':' || key.id
WHERE key.id = %(key_id)s ORDER BY plan_limit.name"""


def find_quotas(connection: Connection, account_id: str, *, now: datetime | None = None) -> list[Quota]:
    """List an account's budgets by name, those of single keys by key."""
    now = now or datetime.now(UTC)
    rows = connection.execute(_FIND, {"account_id": account_id, "now": now}).fetchall()
    return [_quota(connection, account_id, row, now) for row in rows]


def find_key_quotas(connection: Connection, key_id: str, *, now: datetime | None = None) -> list[Quota]:
    """List the budgets that a key has of its own, beside those of its account's plan."""
    now = now or datetime.now(UTC)
    rows = connection.execute(_FIND_OF_KEY, {"key_id": key_id, "now": now}).fetchall()
    return [_quota(connection, row.pop("account_id"), row, now) for row in rows]


def _quota(connection: Connection, account_id: str, row: Mapping[str, Any], now: datetime) -> Quota:
    start_s = budget.start_s(int(now.timestamp()) * 1_000_000, row["period"])
    end = datetime.fromtimestamp(budget.end_s(start_s, row["period"]), UTC)
    counted = usage.totals(
        connection,
        account_id=account_id,
        key_id=row["key_id"],
        start=datetime.fromtimestamp(start_s, UTC),
        end=end,
    )
    is_current = row["head"] == start_s
    reserved = row["reserved"] if is_current else 0
    return Quota(
        name=row["name"],
        unit=row["unit"],
        period=row["period"],
        key_id=row["key_id"],
        amount=row["amount"],
        used=max(0, row["used"] - reserved) if is_current else 0,
        reserved=reserved,
        counted=_counted(counted, row["unit"]),
        resets_at=end,
        credit_nanousd=row["credit_nanousd"],
    )


def _counted(tally: Tally, unit: str) -> int:
    return {"request": tally.requests - tally.limited, "token": tally.tokens, "nanousd": tally.cost_nanousd}[unit]
