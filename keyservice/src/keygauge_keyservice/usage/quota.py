"""How much of its budgets an account has used in the current period of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from keygauge_keyservice.database import Connection
from keygauge_keyservice.limits.definitions import CountedUnit, Period
from keygauge_keyservice.limits.kinds import quota
from keygauge_keyservice.usage import usage
from keygauge_keyservice.usage.sums import UsageSums


@dataclass(frozen=True)
class Quota:
    """One budget of an account, or of one of its keys, in its current period."""

    name: str
    unit: CountedUnit
    period: Period
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


_COLUMNS = """plan_limit.name, unit, period, amount, credit_nanousd, route, model, dry_run, head, cells[1] AS used,
    (SELECT coalesce(sum(units - spent), 0)::bigint FROM lease
     WHERE state_id = state.id AND bucket = head AND NOT closed AND ends_at > %(now)s) AS reserved"""
_OF_ACCOUNT = f"""/* quota.of_account */
SELECT {_COLUMNS}, NULL AS key_id
FROM account JOIN plan_limit ON period IS NOT NULL AND plan_limit.plan_id = account.plan_id AND subject = 'account'
LEFT JOIN limit_state AS state ON state.id = plan_limit.id || ':' || account.id
WHERE account.id = %(account_id)s ORDER BY plan_limit.name"""  # noqa: S608 - nothing but the columns above is put in
_OF_KEYS = f"""/* quota.of_keys */
SELECT {_COLUMNS}, key.id AS key_id
FROM account JOIN key ON key.account_id = account.id AND key.status <> 'deleted'
JOIN plan_limit ON period IS NOT NULL AND subject = 'key'
    AND (plan_limit.plan_id = account.plan_id OR plan_limit.key_id = key.id)
LEFT JOIN limit_state AS state ON state.id = plan_limit.id || ':' || key.id
WHERE account.id = %(account_id)s AND (%(key_id)s::text IS NULL OR key.id = %(key_id)s)
ORDER BY plan_limit.name, key.id"""  # noqa: S608 - as above
# From the side of the states, which have one row for each key that has used any: by the account's index.
_NEAR = f"""/* quota.near */
SELECT {_COLUMNS}, key.id AS key_id
FROM limit_state AS state
JOIN account ON account.id = state.account_id
JOIN plan_limit ON plan_limit.id = split_part(state.id, ':', 1)::bigint
    AND period IS NOT NULL AND subject = 'key' AND NOT dry_run AND amount > 0
    AND cells[1] >= %(share)s * amount AND head = extract(epoch FROM date_trunc(period, %(now)s::timestamptz, 'UTC'))
JOIN key ON key.id = split_part(state.id, ':', 2) AND key.account_id = state.account_id AND key.status <> 'deleted'
    AND (plan_limit.key_id = key.id OR plan_limit.plan_id = account.plan_id)
WHERE state.account_id = %(account_id)s
ORDER BY cells[1] / amount::float8 DESC, key.id LIMIT %(most)s"""  # noqa: S608 - as above
_NOTHING = UsageSums()


def find_quotas(connection: Connection, account_id: str, *, now: datetime | None = None) -> list[Quota]:
    """List an account's budgets by name, those of single keys by key, the keys' own ones too."""
    now = now or datetime.now(UTC)
    values = {"account_id": account_id, "now": now, "key_id": None}
    rows = [*connection.execute(_OF_ACCOUNT, values), *connection.execute(_OF_KEYS, values)]
    rows.sort(key=lambda row: (row["name"], row["key_id"] or ""))
    return _quotas(connection, account_id, rows, now)


def find_of_account(connection: Connection, account_id: str, *, now: datetime | None = None) -> list[Quota]:
    """List the budgets that count all of an account by name."""
    now = now or datetime.now(UTC)
    rows = connection.execute(_OF_ACCOUNT, {"account_id": account_id, "now": now}).fetchall()
    return _quotas(connection, account_id, rows, now)


def find_of_key(connection: Connection, account_id: str, key_id: str, *, now: datetime | None = None) -> list[Quota]:
    """List the budgets of one key by name: the plan's for each key, and its own."""
    now = now or datetime.now(UTC)
    rows = connection.execute(_OF_KEYS, {"account_id": account_id, "now": now, "key_id": key_id}).fetchall()
    return _quotas(connection, account_id, rows, now)


def find_near(
    connection: Connection, account_id: str, *, share: float, most: int, now: datetime | None = None
) -> list[Quota]:
    """List budgets of single keys of which a share is used, the fullest first: so many at most."""
    now = now or datetime.now(UTC)
    values = {"account_id": account_id, "now": now, "share": share, "most": most}
    found = _quotas(connection, account_id, connection.execute(_NEAR, values).fetchall(), now)
    return [one for one in found if one.used >= share * one.amount]


def _quotas(connection: Connection, account_id: str, rows: Sequence[Mapping[str, Any]], now: datetime) -> list[Quota]:
    key_ids = [row["key_id"] for row in rows if row["key_id"] is not None]
    counts = _Counts(connection, account_id, now, key_ids)
    return [_quota(row, counts, now) for row in rows]


class _Counts:
    """What the ledger has of the current periods: one question for all keys, however many have a budget."""

    def __init__(self, connection: Connection, account_id: str, now: datetime, key_ids: Sequence[str]) -> None:
        self._connection = connection
        self._account_id = account_id
        self._now = now
        self._key_ids = key_ids
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
                {
                    part.group: part
                    for part in usage.breakdown(self._connection, by="key", only=self._key_ids, **selection)
                }
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


def _counted(tally: UsageSums, unit: CountedUnit) -> int:
    counts: dict[CountedUnit, int] = {
        "request": tally.requests - tally.limited,
        "token": tally.tokens,
        "input_token": tally.input_tokens,
        "output_token": tally.output_tokens,
        "nanousd": tally.cost_nanousd,
    }
    return counts[unit]
