"""The usage of an account's quotas and budgets in their current periods."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime
from typing import Any

from keygauge.limits.limit import is_meant
from keygauge.weights import TOKEN_COUNTS, Weights
from keygauge_keyservice.database import Connection
from keygauge_keyservice.limits.definitions import CountedUnit
from keygauge_keyservice.limits.lease_rows import RETURN_TIME
from keygauge_keyservice.limits.periods import Period, Periods
from keygauge_keyservice.texts import gettext, mark
from keygauge_keyservice.usage import usage
from keygauge_keyservice.usage.query import Grouping
from keygauge_keyservice.usage.sums import DetailedSums, UsageSums
from keygauge_keyservice.values import time_zone

_CURRENT: dict[Period, str] = {
    "hour": mark("this hour"),
    "day": mark("today"),
    "week": mark("this week"),
    "month": mark("this month"),
    "quarter": mark("this quarter"),
    "year": mark("this year"),
    "lifetime": mark("in total"),
}
_NOUNS: dict[CountedUnit, str] = {
    "request": mark("request quota"),
    "token": mark("token quota"),
    "input_token": mark("input token quota"),
    "output_token": mark("output token quota"),
    "nanousd": mark("budget"),
}


@dataclass(frozen=True)
class Quota:
    """A quota or budget of an account, or of one of its keys, in its current period."""

    name: str
    unit: CountedUnit
    period: Period
    key_id: str | None  # None: counts the whole account
    amount: int
    used: int  # settled, reserved by calls in progress, or lost in a crash
    reserved: int  # leased to replicas for future calls; not part of `used`
    counted: int  # according to the ledger: admitted calls in the period, or their tokens or cost;
    # the same as `used` for a tool's quota, since the ledger does not record tools
    starts_at: datetime
    resets_at: datetime | None  # None: never
    anchor: date | None = None  # a day on which a period starts
    zone: str | None = None  # the time zone of periods; None: UTC
    credit_nanousd: int | None = None  # for a budget shown in credits: the value of one credit
    route: str | None = None  # counts only calls of this route template
    model: str | None = None  # counts only calls of this model
    tool: str | None = None  # counts only JSON-RPC calls of this tool
    dry_run: bool = False  # refuses no calls
    unit_name: str | None = None  # the display name of a weighted unit

    @property
    def when(self) -> str:
        """The current period as text: this month, since 15 Nov, in total."""
        if self.anchor is not None:
            since = self.starts_at.astimezone(time_zone.find(self.zone) or UTC)
            return f"since {since:%-d %b}"
        return gettext(_CURRENT[self.period])

    @property
    def noun(self) -> str:
        """The display name of this kind of quota: request quota, budget."""
        if self.credit_nanousd:
            return gettext("credit budget")
        if self.unit_name:
            return gettext("%(unit)s quota", unit=self.unit_name.replace("_", " "))
        return gettext(_NOUNS[self.unit])

    @property
    def remaining(self) -> int:
        """The unused amount."""
        return max(0, self.amount - self.used)


_COLUMNS = f"""plan_limit.name, unit, period, anchor, zone, amount, credit_nanousd, weights, unit_name,
    route, model, tool, dry_run, head, cells[1] AS used, coalesce(is_complete, false) AS is_complete,
    ends[1] > extract(epoch FROM %(now)s::timestamptz) * 1000000 AS is_current,
    (SELECT coalesce(sum(units - spent), 0)::bigint FROM lease
     WHERE state_id = state.id AND bucket = head AND NOT closed AND ends_at > %(now)s - {RETURN_TIME}) AS reserved"""  # noqa: S608 - a constant
_OF_ACCOUNT = f"""/* quota.of_account */
SELECT {_COLUMNS}, NULL AS key_id
FROM account JOIN plan_limit ON plan_limit.plan_id = account.plan_id
    AND period IS NOT NULL AND NOT per_tag AND subject = 'account'
LEFT JOIN limit_state AS state ON state.id = plan_limit.id || ':' || account.id
WHERE account.id = %(account_id)s ORDER BY plan_limit.name"""  # noqa: S608 - only the columns above are interpolated
_OF_KEYS = f"""/* quota.of_keys */
SELECT {_COLUMNS}, key.id AS key_id
FROM account JOIN key ON key.account_id = account.id AND key.status <> 'deleted'
JOIN plan_limit ON period IS NOT NULL AND NOT per_tag AND subject = 'key'
    AND (plan_limit.plan_id = account.plan_id OR plan_limit.key_id = key.id)
LEFT JOIN limit_state AS state ON state.id = plan_limit.id || ':' || key.id
WHERE account.id = %(account_id)s AND key.id = ANY(%(keys)s) ORDER BY plan_limit.name, key.id"""  # noqa: S608 - as above
_KEYS = """/* quota.keys */
SELECT id FROM key WHERE account_id = %(account_id)s AND status <> 'deleted' ORDER BY created_at, id LIMIT %(most)s"""
# Starts from limit_state, which has a row per key with usage, by the account's index.
_NEAR = f"""/* quota.near */
SELECT {_COLUMNS}, key.id AS key_id
FROM limit_state AS state
JOIN account ON account.id = state.account_id
JOIN plan_limit ON plan_limit.id = split_part(state.id, ':', 1)::bigint
    AND period IS NOT NULL AND NOT per_tag AND subject = 'key' AND NOT dry_run AND amount > 0
    AND cells[1] >= %(share)s * amount AND ends[1] > extract(epoch FROM %(now)s::timestamptz) * 1000000
JOIN key ON key.id = split_part(state.id, ':', 2) AND key.account_id = state.account_id AND key.status <> 'deleted'
    AND (plan_limit.key_id = key.id OR plan_limit.plan_id = account.plan_id)
WHERE state.account_id = %(account_id)s
ORDER BY cells[1] / amount::float8 DESC, key.id LIMIT %(most)s"""  # noqa: S608 - as above
_NOTHING = DetailedSums()
KEYS_MAX = 500  # keys whose quotas are listed
_KEYS_APART = 50  # keys per query if it also groups by route or model


def find_quotas(
    connection: Connection, account_id: str, *, key_id: str | None = None, now: datetime | None = None
) -> list[Quota]:
    """Return an account's quotas by name and key, including those of its keys.

    With `key_id`, only that key's quotas are added to the account's; without it, and with more than `KEYS_MAX` keys,
    only the fullest ones.
    """
    now = now or datetime.now(UTC)
    of_account = find_of_account(connection, account_id, now=now)
    keys = [key_id] if key_id else _keys(connection, account_id)
    if len(keys) > KEYS_MAX:
        found = [*of_account, *find_near(connection, account_id, share=0, most=KEYS_MAX, now=now)]
    else:
        found = [*of_account, *_of_keys(connection, account_id, keys, now)]
    return sorted(found, key=lambda one: (one.name, one.key_id or ""))


def _keys(connection: Connection, account_id: str) -> list[str]:
    """Return up to `KEYS_MAX` + 1 keys of an account, oldest first."""
    values = {"account_id": account_id, "most": KEYS_MAX + 1}
    return [row["id"] for row in connection.execute(_KEYS, values)]


def find_of_account(connection: Connection, account_id: str, *, now: datetime | None = None) -> list[Quota]:
    """Return the account-wide quotas by name."""
    now = now or datetime.now(UTC)
    rows = connection.execute(_OF_ACCOUNT, {"account_id": account_id, "now": now}).fetchall()
    return _quotas(connection, account_id, rows, now)


def find_of_key(connection: Connection, account_id: str, key_id: str, *, now: datetime | None = None) -> list[Quota]:
    """Return the quotas of one key by name: those of the plan that count per key, and its own."""
    return _of_keys(connection, account_id, [key_id], now or datetime.now(UTC))


def _of_keys(connection: Connection, account_id: str, keys: Sequence[str], now: datetime) -> list[Quota]:
    values = {"account_id": account_id, "now": now, "keys": list(keys)}
    return _quotas(connection, account_id, connection.execute(_OF_KEYS, values).fetchall(), now)


def find_near(
    connection: Connection, account_id: str, *, share: float, most: int, now: datetime | None = None
) -> list[Quota]:
    """Return up to `most` quotas of single keys of which at least a share is used, fullest first."""
    now = now or datetime.now(UTC)
    values = {"account_id": account_id, "now": now, "share": share, "most": most}
    found = _quotas(connection, account_id, connection.execute(_NEAR, values).fetchall(), now)
    return [one for one in found if one.used >= share * one.amount]


def _quotas(connection: Connection, account_id: str, rows: Sequence[Mapping[str, Any]], now: datetime) -> list[Quota]:
    key_ids = [row["key_id"] for row in rows if row["key_id"] is not None]
    counts = Counts(connection, account_id, now, key_ids)
    return [_quota(row, counts, now) for row in rows]


class Counts:
    """The ledger's sums for the current periods, with one query for all keys."""

    def __init__(self, connection: Connection, account_id: str, now: datetime, key_ids: Sequence[str]) -> None:
        self._connection = connection
        self._account_id = account_id
        self._now = now
        self._key_ids = key_ids
        self._found: dict[tuple[Any, ...], dict[str | None, DetailedSums]] = {}

    def used(self, row: Mapping[str, Any]) -> int:
        """Return the units of a limit that calls have used."""
        return _units(self._of(row), row["unit"], row["weights"])

    def _of(self, row: Mapping[str, Any]) -> DetailedSums:
        """Return the sums that a limit counts."""
        is_of_keys = row["key_id"] is not None
        measure = (periods_of(row), row["route"], row["model"])
        if (*measure, is_of_keys) not in self._found:
            self._found[*measure, is_of_keys] = self._find(*measure, is_of_keys=is_of_keys)
        return self._found[*measure, is_of_keys].get(row["key_id"], _NOTHING)

    def _find(
        self, periods: Periods, route: str | None, model: str | None, *, is_of_keys: bool
    ) -> dict[str | None, DetailedSums]:
        """Return the sums by key; those of the account under None."""
        start, end = _around(periods, self._now)
        end = end or self._now
        measure: dict[Grouping, str | None] = {"route": route, "model": model}
        patterns = {name: text for name, text in measure.items() if text is not None and text.endswith("*")}
        selection = usage.Selection(
            account_id=self._account_id,
            route=None if "route" in patterns else route,
            model=None if "model" in patterns else model,
            start=max(start, end - usage.RANGE_MAX),
            end=end,
        )
        if not is_of_keys and not patterns:
            return {None: usage.totals(self._connection, **selection)}
        found: dict[str | None, list[DetailedSums]] = {}
        by: tuple[Grouping, ...] = ("key", *patterns) if is_of_keys else tuple(patterns)
        for only in self._groups_of_keys(len(by)) if is_of_keys else [None]:
            for part in usage.breakdown(self._connection, by=by, only=only, **selection):
                names = dict(zip(by, part.names, strict=True))
                if all(is_meant(pattern, names[name]) for name, pattern in patterns.items()):
                    found.setdefault(names.get("key"), []).append(part)
        return {key_id: _added(parts) for key_id, parts in found.items()}

    def _groups_of_keys(self, dimensions: int) -> Iterator[Sequence[str]]:
        """Yield the keys in groups per query; groups are smaller if the query also groups by route or model."""
        most = KEYS_MAX if dimensions == 1 else _KEYS_APART
        for first in range(0, len(self._key_ids), most):
            yield self._key_ids[first : first + most]


_AS_THEY_ARE = (
    *("name", "unit", "period", "anchor", "zone", "key_id", "route", "model", "tool", "dry_run", "amount"),
    "credit_nanousd",
    "unit_name",
)


def _quota(row: Mapping[str, Any], counts: Counts, now: datetime) -> Quota:
    start, end = _around(periods_of(row), now)
    reserved = row["reserved"] if row["is_current"] else 0
    used = max(0, row["used"] - reserved) if row["is_current"] else 0
    counted = used if row["tool"] else counts.used(row)
    if not row["is_complete"]:
        used = max(used, counted)  # as at the next request
    return Quota(
        **{name: row[name] for name in _AS_THEY_ARE},
        used=used,
        reserved=reserved,
        counted=counted,
        starts_at=start,
        resets_at=end,
    )


def periods_of(row: Mapping[str, Any]) -> Periods:
    """Return the periods of a quota's row."""
    return Periods(row["period"], row["anchor"], row["zone"])


def _around(periods: Periods, now: datetime) -> tuple[datetime, datetime | None]:
    """Return the start of the period that contains a time, and the start of the next one, if any."""
    start, end = (datetime.fromtimestamp(second, UTC) for second in periods.around(int(now.timestamp())))
    return start, None if periods.period == "lifetime" else end


def _added(parts: Sequence[DetailedSums]) -> DetailedSums:
    names = ["refused", *(field.name for field in fields(UsageSums) if field.name != "duration_counts")]
    return DetailedSums(**{name: sum(getattr(part, name) for part in parts) for name in names})


def _units(sums: DetailedSums, unit: CountedUnit, weights: dict[str, int] | None) -> int:
    requests = sums.requests - sums.limited - sums.refused
    if weights is not None:
        tokens = {name: getattr(sums, name) for name in TOKEN_COUNTS}
        return Weights.from_json(weights).units(requests=requests, **tokens)
    counts: dict[CountedUnit, int] = {
        "request": requests,
        "token": sums.tokens,
        "input_token": sums.input_tokens,
        "output_token": sums.output_tokens,
        "nanousd": sums.cost_nanousd,
    }
    return counts[unit]
