"""Sums of kinds of use beyond the usual token counts, updated with every batch; few calls have any.

Calls refused for another reason than a limit are counted in the same way, since they are few: limits do not count them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import TypeAlias

from keygauge.call import ADMITTED, LIMITED, PART
from keygauge_keyservice.database import Connection
from keygauge_keyservice.ledger.aggregate import DAY_S
from keygauge_keyservice.ledger.event import Event
from keygauge_keyservice.ledger.rollup import BUCKET_S, Group, array

LENGTHS_S = (DAY_S, BUCKET_S)
REFUSED = "(refused)"  # no event can name such a kind
_NOT_REFUSED = frozenset((*ADMITTED, *LIMITED, PART))
_REFUSED_ONCE = {REFUSED: 1}

Row: TypeAlias = tuple[int, Group, str]
"""Length, group and kind."""

_ADD = """/* usage_kind.add */
INSERT INTO usage_kind AS kept (account_id, length_s, bucket, key_id, route, model, status_class, kind, count)
SELECT account_id, length_s, to_timestamp(bucket_s), key_id, route, model, status_class, kind, count
FROM unnest(%s::text[], %s::integer[], %s::bigint[], %s::text[], %s::text[], %s::text[], %s::smallint[], %s::text[],
    %s::bigint[]) AS batch (account_id, length_s, bucket_s, key_id, route, model, status_class, kind, count)
-- All batches lock rows in the same order, so that they cannot deadlock.
ORDER BY account_id, length_s, bucket_s, key_id, route, model, status_class, kind
ON CONFLICT (account_id, length_s, bucket, key_id, route, model, status_class, kind) DO UPDATE SET
    count = kept.count + excluded.count"""


def write(connection: Connection, events: Iterable[Event], group_of: Callable[[Event], Group]) -> None:
    """Add a batch's kinds of use, if its events have any."""
    sums = _add_up(events, group_of)
    if not sums:
        return
    lengths_s, groups, kinds = zip(*sums, strict=True)
    bucket_s, account, key, route, model, status = (list(column) for column in zip(*groups, strict=True))
    columns = (account, array(lengths_s), array(bucket_s), key, route, model, array(status), list(kinds))
    connection.execute(_ADD, (*columns, array(sums.values())))


def _add_up(events: Iterable[Event], group_of: Callable[[Event], Group]) -> Counter[Row]:
    sums: Counter[Row] = Counter()
    for event in events:
        counts = event.details if event.outcome in _NOT_REFUSED else {**(event.details or {}), **_REFUSED_ONCE}
        if counts:
            group = group_of(event)
            for length_s in LENGTHS_S:
                longer = (group[0] - group[0] % length_s, *group[1:])
                sums.update({(length_s, longer, kind): count for kind, count in counts.items() if count})
    return sums
