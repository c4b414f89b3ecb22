"""Counts of the kinds of use beyond the usual token counts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from itertools import chain

from psycopg import sql

from keygauge_keyservice.database import Connection
from keygauge_keyservice.ledger.kinds import LENGTHS_S
from keygauge_keyservice.usage.query import COLUMNS, Names, Question
from keygauge_keyservice.usage.time_cover import cut

_FIND = sql.SQL("""/* kind_counts.find */
SELECT cover.span, ARRAY[{names}]::text[] AS names, kind, sum(cover.sign * count)::bigint AS count
FROM unnest(
    %(spans)s::integer[], %(firsts)s::timestamptz[], %(lasts)s::timestamptz[], %(lengths)s::integer[],
    %(signs)s::integer[]
) AS cover (span, first, last, length_s, sign)
JOIN usage_kind ON usage_kind.length_s = cover.length_s AND bucket >= cover.first AND bucket < cover.last
WHERE (%(account_id)s::text IS NULL OR account_id = %(account_id)s)
AND (%(key)s::text IS NULL OR key_id = %(key)s) AND (%(route)s::text IS NULL OR route = %(route)s)
AND (%(model)s::text IS NULL OR model = %(model)s)
AND (%(only)s::text[] IS NULL OR {first} = ANY(%(only)s))
GROUP BY 1, 2, 3 HAVING sum(cover.sign * count) > 0
ORDER BY 4 DESC, 3""")


def find_kinds(
    connection: Connection, question: Question, spans: Sequence[tuple[datetime, datetime]]
) -> dict[tuple[int, Names], dict[str, int]]:
    """Return the counts by kind for each span (its index) and group that has any, largest first."""
    covers = list(chain.from_iterable(((n, cover) for cover in cut(*span, LENGTHS_S)) for n, span in enumerate(spans)))
    names = [COLUMNS[name] for name in question.group_by]
    query = _FIND.format(names=sql.SQL(", ").join(names), first=names[0] if names else sql.NULL)
    values = {
        "account_id": question.account_id,
        "key": question.key,
        "route": question.route,
        "model": question.model,
        "only": None if question.only is None else list(question.only),
        "spans": [number for number, _ in covers],
        "firsts": [cover.first for _, cover in covers],
        "lasts": [cover.last for _, cover in covers],
        "lengths": [cover.length_s for _, cover in covers],
        "signs": [cover.sign for _, cover in covers],
    }
    found: defaultdict[tuple[int, Names], dict[str, int]] = defaultdict(dict)
    for row in connection.execute(query, values, prepare=False):
        found[row["span"], tuple(row["names"])][row["kind"]] = row["count"]
    return found
