"""Roll-ups: sums by 15 minutes UTC x account x key x route x model x status class, updated with every batch."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

from keygauge import metrics
from keygauge.call import LIMITED, PART
from keygauge_keyservice.database import Connection
from keygauge_keyservice.ledger.event import Event
from keygauge_keyservice.pricing.cost import Cost

BUCKET_S = 900
PACKED_S = 43_200  # the time span of a packed row
DURATION_COUNTS = len(metrics.DURATION_BUCKETS_S) + 1  # the last one is +Inf

Group: TypeAlias = tuple[int, str, str, str, str, int]
"""A row's key: bucket (unix seconds), account, key, route, model, status class."""

_HOUR_S = 3_600
_BUCKET_US = BUCKET_S * 1_000_000
_DURATION_BOUNDS_US = [round(bound * 1_000_000) for bound in metrics.DURATION_BUCKETS_S]
_SUMS = 11
_COST, _KIND_COSTS = 9, 12  # their indexes in a row
_EMPTY = [0] * (_SUMS + 2)
# A histogram is one number, with twelve decimal digits per bucket of durations; the first bucket has the lowest digits.
_PLACE = 10**12
_CALL_IN = [_PLACE**bucket for bucket in range(DURATION_COUNTS)]

_ADD = """/* rollup.add */
INSERT INTO rollup_recent AS kept (
    bucket, account_id, key_id, route, model, status_class,
    requests, limited, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens,
    request_bytes, response_bytes, cost_nanousd, duration_us, durations, kind_costs)
SELECT
    to_timestamp(bucket_s), account_id, key_id, route, model, status_class,
    requests, limited, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens,
    request_bytes, response_bytes, cost_nanousd, duration_us, durations, kind_costs
FROM unnest(
    %s::bigint[], %s::text[], %s::text[], %s::text[], %s::text[], %s::smallint[],
    %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[],
    %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::numeric[], %s::numeric[]
) AS batch (
    bucket_s, account_id, key_id, route, model, status_class,
    requests, limited, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens,
    request_bytes, response_bytes, cost_nanousd, duration_us, durations, kind_costs)
-- All batches lock rows in the same order, so that they cannot deadlock.
ORDER BY account_id, bucket_s, key_id, route, model, status_class
ON CONFLICT (account_id, bucket, key_id, route, model, status_class) DO UPDATE SET
    requests = kept.requests + excluded.requests,
    limited = kept.limited + excluded.limited,
    input_tokens = kept.input_tokens + excluded.input_tokens,
    output_tokens = kept.output_tokens + excluded.output_tokens,
    cache_read_tokens = kept.cache_read_tokens + excluded.cache_read_tokens,
    cache_write_tokens = kept.cache_write_tokens + excluded.cache_write_tokens,
    reasoning_tokens = kept.reasoning_tokens + excluded.reasoning_tokens,
    request_bytes = kept.request_bytes + excluded.request_bytes,
    response_bytes = kept.response_bytes + excluded.response_bytes,
    cost_nanousd = kept.cost_nanousd + excluded.cost_nanousd,
    duration_us = kept.duration_us + excluded.duration_us,
    durations = kept.durations + excluded.durations,
    kind_costs = kept.kind_costs + excluded.kind_costs"""


def group_of(event: Event) -> Group:
    """Return the key of the row that an event is part of."""
    return (
        event.time_us // _BUCKET_US * BUCKET_S,
        event.account,
        event.key,
        event.route,
        event.model or "",
        event.status // 100,
    )


class Sums:
    """Sums of events by group."""

    def __init__(self, group_of: Callable[[Event], Group] = group_of) -> None:
        self._group_of = group_of
        # Eleven sums in the order of the table's columns, the histogram of durations, and the costs of kinds.
        self.groups: dict[Group, list[int]] = {}

    def add(self, event: Event, cost: Cost | None) -> None:
        """Add one event."""
        group = self._group_of(event)
        row = self.groups.get(group)
        if row is None:
            row = self.groups[group] = _EMPTY.copy()
        if event.outcome != PART:
            row[0] += 1
            row[10] += event.duration_us
            row[_SUMS] += _CALL_IN[bisect_left(_DURATION_BOUNDS_US, event.duration_us)]
            if event.outcome in LIMITED:
                row[1] += 1
        row[2] += event.input_tokens or 0
        row[3] += event.output_tokens or 0
        row[4] += event.cache_read_tokens or 0
        row[5] += event.cache_write_tokens or 0
        row[6] += event.reasoning_tokens or 0
        row[7] += event.request_bytes
        row[8] += event.response_bytes
        if cost:
            row[_COST] += cost.nanousd
            row[_KIND_COSTS] += cost.kind_costs

    def by_hour(self) -> list[tuple[int, int, int, int]]:
        """Return (hour in unix seconds, requests, input tokens, output tokens) for each hour, in order."""
        hours: dict[int, tuple[int, int, int]] = {}
        for (bucket_s, *_), row in self.groups.items():
            hour_s = bucket_s - bucket_s % _HOUR_S
            requests, given, made = hours.get(hour_s, (0, 0, 0))
            hours[hour_s] = (requests + row[0], given + row[2], made + row[3])
        return [(hour_s, *sums) for hour_s, sums in sorted(hours.items())]


def write(connection: Connection, groups: Mapping[Group, Sequence[int]]) -> None:
    """Add a batch's sums to the roll-ups."""
    if not groups:
        return
    columns = zip(*groups.values(), strict=True)
    bucket_s, account, key, route, model, status = (list(column) for column in zip(*groups, strict=True))
    connection.execute(_ADD, (array(bucket_s), account, key, route, model, array(status), *map(array, columns)))


def cost_alone(nanousd: int, kind_costs: int) -> list[int]:
    """Return a row of sums that are all zero, except for the cost."""
    row = _EMPTY.copy()
    row[_COST], row[_KIND_COSTS] = nanousd, kind_costs
    return row


def duration_counts(durations: int) -> list[int]:
    """Return the calls per bucket of a histogram of durations; the last bucket is +Inf."""
    return [durations // place % _PLACE for place in _CALL_IN]


def array(numbers: Iterable[int]) -> str:
    """Format a PostgreSQL array literal, which for thousands of numbers is faster than the driver's adaptation."""
    return f"{{{','.join(map(str, numbers))}}}"
