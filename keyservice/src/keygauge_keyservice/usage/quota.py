"""How much of its budgets an account has used in the current day or month."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from keygauge_keyservice.database import Connection
from keygauge_keyservice.limits.kinds import quota
from keygauge_keyservice.usage import usage
from keygauge_keyservice.usage.sums import UsageSums


@dataclass(frozen=True)
class Quota:
    """One budget of an account, or of one of its keys, in its current period."""

    name: str
    unit: Literal["request", "token", "nanousd"]
    period: Literal["day", "month"]
    key_id: str | None  # None: it counts the whole account
    amount: int
    used: int  # settled, reserved by calls under way, or burnt
    reserved: int  # held by replicas for calls to come: not used
    counted: int  # what the ledger has of them in the period: calls that no limit refused, their tokens or their cost
    resets_at: datetime
    credit_nanousd: int | None = None  # a budget of cost that people see in credits: what one is worth
    route: str | None = None  # it counts this route template's calls only
    model: str | None = None  # … this model's only
    dry_run: bool = False  # it refuses nobody

    @property
    def remaining(self) -> int:
        """What nobody has used."""
        return max(0, self.amount - self.used)


_FIND = """/* quota.find */
SELECT plan_limit.name, unit, period, amount, credit_nanousd, route, model, dry_run, head,
    cells[1] AS used, subject.key_id,
    (SELECT coalesce(sum(units - spent), 0)::bigint FROM lease
     WHERE state_id = state.id AND bucket = head AND NOT closed AND ends_at > %(now)s) AS reserved
FROM account
JOIN plan_limit ON period IS NOT NULL AND (
    plan_limit.plan_id = account.plan_id
    OR plan_limit.key_id IN (SELECT id FROM key WHERE account_id = account.id AND status <> 'deleted'))
JOIN LATERAL (
    SELECT account.id AS id, NULL AS key_id WHERE subject = 'account'
    UNION ALL
    SELECT key.id, key.id FROM key
    WHERE subject = 'key' AND key.account_id = account.id AND key.status <> 'deleted'
    AND (plan_limit.key_id IS NULL OR plan_limit.key_id = key.id)
) AS subject ON true
LEFT JOIN limit_state AS state ON state.id = plan_limit.id || ':' || subject.id
WHERE account.id = %(account_id)s
ORDER BY plan_limit.name, subject.id"""
_NOTHING = UsageSums()


def find_quotas(connection: Connection, account_id: str, *, now: datetime | None = None) -> list[Quota]:
    """List an account's budgets by name, those of single keys by key, the keys' own ones too."""
    now = now or datetime.now(UTC)
    counts = _Counts(connection, account_id, now)
    rows = connection.execute(_FIND, {"account_id": account_id, "now": now}).fetchall()
    return [_quota(row, counts, now) for row in rows]


class _Counts:
    """What the ledger has of the current periods: one question for all keys, however many have a budget."""

    def __init__(self, connection: Connection, account_id: str | None, now: datetime) -> None:
        self._connection = connection
        self._account_id = account_id
        self._now = now
        self._found: dict[tuple[Any, ...], dict[str | None, UsageSums]] = {}

    def of(self, row: Mapping[str, Any]) -> UsageSums:
        """Return the sums of what a limit counts."""
        is_of_keys = row["key_id"] is not None
        asked = (row["period"], row["route"], row["model"], is_of_keys)
        if asked not in self._found:
            start_s = quota.start_s(int(self._now.timestamp()) * 1_000_000, row["period"])
            selection = usage.Selection(
                account_id=self._account_id,
                route=row["route"],
                model=row["model"],
                start=datetime.fromtimestamp(start_s, UTC),
                end=datetime.fromtimestamp(quota.end_s(start_s, row["period"]), UTC),
            )
            self._found[asked] = (
                {part.group: part for part in usage.breakdown(self._connection, by="key", **selection)}
                if is_of_keys
                else {None: usage.totals(self._connection, **selection)}
            )
        return self._found[asked].get(row["key_id"], _NOTHING)


def _quota(row: Mapping[str, Any], counts: _Counts, now: datetime) -> Quota:
    start_s = quota.start_s(int(now.timestamp()) * 1_000_000, row["period"])
    is_current = row["head"] == start_s
    reserved = row["reserved"] if is_current else 0
    return Quota(
        **{name: row[name] for name in ("name", "unit", "period", "key_id", "route", "model", "dry_run", "amount")},
        used=max(0, row["used"] - reserved) if is_current else 0,
        reserved=reserved,
        counted=_counted(counts.of(row), row["unit"]),
        resets_at=datetime.fromtimestamp(quota.end_s(start_s, row["period"]), UTC),
        credit_nanousd=row["credit_nanousd"],
    )


def _counted(tally: UsageSums, unit: str) -> int:
    return {"request": tally.requests - tally.limited, "token": tally.tokens, "nanousd": tally.cost_nanousd}[unit]
