"""Reconciliation within the ledger: events, roll-ups and usage aggregates must tell the same, hour by hour."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from keygauge_keyservice.database import Connection

Sums: TypeAlias = tuple[int, int, int, int]


@dataclass(frozen=True)
class Drift:
    """An hour in which an account's sums differ; each is calls, tokens, nano-USD and what kinds cost (packed)."""

    hour: datetime
    account_id: str
    events: Sums
    rollups: Sums
    usage_aggregates: Sums


# One statement sees one moment: batches that come meanwhile are in all three parts or in none.
_FIND = """/* reconcile.find */
SELECT hour, account_id, part, sum(requests)::bigint AS requests, sum(tokens)::bigint AS tokens,
    sum(cost)::bigint AS cost, sum(kind_costs) AS kind_costs
FROM (
    SELECT 'events' AS part, date_trunc('hour', time, 'UTC') AS hour, account_id,
        count(*) FILTER (WHERE outcome <> 'part') AS requests,
        coalesce(sum(input_tokens), 0) + coalesce(sum(output_tokens), 0) AS tokens,
        coalesce(sum(cost_nanousd), 0) AS cost, coalesce(sum(kind_costs), 0) AS kind_costs
    FROM event WHERE time >= %(first)s AND time < %(last)s GROUP BY 2, 3
    UNION ALL
    SELECT 'rollups', date_trunc('hour', bucket, 'UTC'), account_id, sum(requests),
        sum(input_tokens + output_tokens), sum(cost_nanousd), sum(kind_costs)
    FROM rollup WHERE bucket >= %(first)s AND bucket < %(last)s
    AND half_day > %(first)s - interval '12 hours' AND half_day < %(last)s GROUP BY 2, 3
    UNION ALL
    SELECT 'usage_aggregates', date_trunc('hour', bucket, 'UTC'), account_id, sum(requests),
        sum(input_tokens + output_tokens), sum(cost_nanousd), sum(kind_costs)
    FROM usage_aggregate
    WHERE length_s = 900 AND breakdown = 'status' AND inside = '' AND bucket >= %(first)s AND bucket < %(last)s
    GROUP BY 2, 3
) AS sums
GROUP BY 1, 2, 3 ORDER BY 1, 2"""
_NOTHING = (0, 0, 0, 0)


def find_drift(connection: Connection, first: datetime, last: datetime) -> list[Drift]:
    """Return the hours that differ between two whole hours; an hour past its events' retention differs."""
    found: dict[tuple[datetime, str], dict[str, Sums]] = {}
    for row in connection.execute(_FIND, {"first": first, "last": last}, prepare=False):
        sums = (row["requests"], row["tokens"], row["cost"], int(row["kind_costs"]))
        found.setdefault((row["hour"], row["account_id"]), {})[row["part"]] = sums
    return [
        Drift(hour, account_id, *(parts.get(name, _NOTHING) for name in ("events", "rollups", "usage_aggregates")))
        for (hour, account_id), parts in found.items()
        if len({parts.get(name, _NOTHING) for name in ("events", "rollups", "usage_aggregates")}) > 1
    ]
