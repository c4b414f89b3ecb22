"""Late usage: differences between the ledger and closed invoices that no later invoice has billed yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from keygauge_keyservice.database import Connection
from keygauge_keyservice.ledger.event import AGE_MAX

_LONGEST = AGE_MAX + timedelta(days=31)  # older events are not accepted

# A separate statement: if the ledger is distributed over several machines, invoices are not.
_USED = """/* late_usage.used */
SELECT account_id, date_trunc('month', bucket AT TIME ZONE 'UTC')::date AS period, sum(cost_nanousd)::bigint AS cost
FROM usage_aggregate
WHERE account_id = ANY(%(account_ids)s) AND length_s = 86400 AND breakdown = 'status' AND inside = ''
AND bucket >= %(first)s AND bucket < %(end)s GROUP BY 1, 2"""
_BILLED = """/* late_usage.billed */
SELECT account_id, period, sum(nanousd)::bigint AS cost FROM (
    SELECT account_id, period, usage_nanousd AS nanousd FROM invoice WHERE account_id = ANY(%(account_ids)s)
    UNION ALL
    SELECT account_id, (line->>'period')::date, (line->>'nanousd')::bigint
    FROM invoice CROSS JOIN jsonb_array_elements(lines) AS line
    WHERE account_id = ANY(%(account_ids)s) AND late_nanousd <> 0 AND line->>'kind' = 'late_usage'
) AS billed WHERE period >= %(first)s::date AND period < %(end)s::date GROUP BY account_id, period"""

# Months before an account's first one have no invoice; calls are in them if their service's clock was slow.
_FIRST = """/* late_usage.first */
SELECT id, date_trunc('month', created_at AT TIME ZONE 'UTC')::date AS period FROM account WHERE id = ANY(%s)"""


@dataclass(frozen=True)
class LateUsage:
    """A month's usage that no invoice contains; negative if re-rating lowered the cost of its calls."""

    period: date
    nanousd: int


def find(connection: Connection, account_ids: Sequence[str], *, before: datetime) -> dict[str, list[LateUsage]]:
    """Return the late usage of accounts in the months before a time, oldest first."""
    params = {"account_ids": list(account_ids), "first": (before - _LONGEST).replace(day=1), "end": before}
    used = {(row["account_id"], row["period"]): row["cost"] for row in connection.execute(_USED, params)}
    billed = {(row["account_id"], row["period"]): row["cost"] for row in connection.execute(_BILLED, params)}
    first = {row["id"]: row["period"] for row in connection.execute(_FIRST, (list(account_ids),))}
    late: dict[str, list[LateUsage]] = {}
    for account_id, period in sorted({*used, *billed}):
        is_billed = (account_id, period) in billed or period < first[account_id]
        difference = used.get((account_id, period), 0) - billed.get((account_id, period), 0)
        if is_billed and difference:
            late.setdefault(account_id, []).append(LateUsage(period, difference))
    return late
