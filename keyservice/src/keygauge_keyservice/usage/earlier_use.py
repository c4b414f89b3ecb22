"""The use of quotas before their counters were created: by calls in the ledger, admitted by the limits of that time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from keygauge_keyservice.database import Connection
from keygauge_keyservice.usage.quota import Counts, periods_of

_ACCOUNTS_MAX = 100  # per heartbeat: each takes some milliseconds
_US = 1_000_000
# An account's keys may be very many, so they are read only for its own limits.
_LAST_USES = """/* earlier_use.last_uses */
SELECT id, extract(epoch FROM last_used_at)::bigint AS at_s FROM key WHERE id = ANY(%s) AND last_used_at IS NOT NULL
UNION ALL
SELECT account_id, extract(epoch FROM max(last_used_at))::bigint FROM key
WHERE account_id = ANY(%s) AND last_used_at IS NOT NULL GROUP BY account_id"""


def find(connection: Connection, rows: Sequence[Mapping[str, Any]], now_us: int) -> dict[str, int]:
    """Return the units used in the current period by the ids of rows; rows beyond a number of accounts are left out.

    No call counts twice: the ledger has only calls that ended before, and calls admitted by a counter begin later.
    Counters of tools and tags begin with 0, as the ledger knows neither tools nor the digests of tags.
    """
    used = dict.fromkeys((row["id"] for row in rows), 0)
    last_s = _last_uses_s(connection, rows)
    earlier = [row for row in rows if _is_known(row) and last_s.get(_subject(row), 0) >= _start_s(row, now_us)]
    for number, (account_id, group) in enumerate(groupby(sorted(earlier, key=_account), key=_account)):
        limits = [{**row, "key_id": _key(row)} for row in group]
        if number < _ACCOUNTS_MAX:
            keys = sorted({row["key_id"] for row in limits} - {None})
            counts = Counts(connection, account_id, datetime.fromtimestamp(now_us / _US, UTC), keys)
            used |= {row["id"]: counts.used(row) for row in limits}
        else:
            used = {name: units for name, units in used.items() if name not in {row["id"] for row in limits}}
    return used


def _last_uses_s(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return the time of the last call in the ledger per account or key that has any."""
    subjects = [sorted({_subject(row) for row in rows if row["subject"] == subject}) for subject in ("key", "account")]
    return {row["id"]: row["at_s"] for row in connection.execute(_LAST_USES, subjects)}


def _is_known(row: Mapping[str, Any]) -> bool:
    return not row["per_tag"] and row["tool"] is None


def _start_s(row: Mapping[str, Any], now_us: int) -> int:
    return periods_of(row).around(now_us // _US)[0]


def _account(row: Mapping[str, Any]) -> str:
    return str(row["account_id"])


def _key(row: Mapping[str, Any]) -> str | None:
    return _subject(row) if row["subject"] == "key" else None


def _subject(row: Mapping[str, Any]) -> str:
    """Return the account or key that a row counts."""
    return str(row["id"].split(":")[1])
