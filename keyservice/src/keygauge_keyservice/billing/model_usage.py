"""Usage by model and kind, for invoice lines."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TypeAlias

from psycopg import sql

from keygauge_keyservice.database import Connection
from keygauge_keyservice.ledger.aggregate import NUMBERS, SUMS
from keygauge_keyservice.ledger.kinds import REFUSED
from keygauge_keyservice.usage.sums import DetailedSums

ByModel: TypeAlias = Mapping[str, DetailedSums]
"""Sums by model, highest cost first; '' means no model."""

_SUMS = sql.SQL("""/* billing.used */
SELECT account_id, part AS model, {sums} FROM usage_aggregate
WHERE account_id = ANY(%(account_ids)s) AND length_s = 86400 AND breakdown = 'model' AND inside = ''
AND bucket >= %(first)s AND bucket < %(last)s
GROUP BY account_id, part ORDER BY sum(cost_nanousd) DESC, part""").format(
    sums=sql.SQL(", ").join(
        [sql.SQL("sum({0})::bigint AS {0}").format(sql.Identifier(name)) for name in SUMS]
        + [sql.SQL("sum({0}) AS {0}").format(sql.Identifier(name)) for name in NUMBERS]
    )
)
_KINDS = """/* billing.used_kinds */
SELECT account_id, model, kind, sum(count)::bigint AS count FROM usage_kind
WHERE account_id = ANY(%(account_ids)s) AND length_s = 86400 AND bucket >= %(first)s AND bucket < %(last)s
AND kind <> %(refused)s
GROUP BY account_id, model, kind"""


def find(connection: Connection, account_ids: Sequence[str], first: datetime, last: datetime) -> dict[str, ByModel]:
    """Return the usage in a range of whole UTC days per account; accounts without usage are left out."""
    params = {"account_ids": list(account_ids), "first": first, "last": last, "refused": REFUSED}
    details: defaultdict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for row in connection.execute(_KINDS, params):
        details[row["account_id"], row["model"]][row["kind"]] = row["count"]
    used: defaultdict[str, dict[str, DetailedSums]] = defaultdict(dict)
    for row in connection.execute(_SUMS, params):
        account_id, model = row["account_id"], row["model"]
        row |= {name: int(row[name]) for name in NUMBERS}
        used[account_id][model] = DetailedSums.from_row(row, details=details[account_id, model])
    return dict(used)
