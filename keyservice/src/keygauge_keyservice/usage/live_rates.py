"""The current request rates of an account or key, compared with its rate limits, and its open streams.

The calls come from the ledger and lag by some seconds. The use of a rate is what the limit counted, which includes the
reservations of calls whose answers had no usage, and no calls before the limit was added. The ledger is asked if no
call used the limit yet, or if its window is short. The streams come from the last heartbeats.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

from psycopg.rows import class_row

from keygauge.call import ADMITTED, PART
from keygauge.weights import TOKEN_COUNTS, Weights
from keygauge_keyservice.database import Connection
from keygauge_keyservice.limits.definitions import CountedUnit, Unit
from keygauge_keyservice.limits.kinds import concurrency, gcra
from keygauge_keyservice.limits.rate_use import Use, find_rate_use

_MINUTE_S = 60
_EVENTS_MAX = 200_000  # scanned per rate
_COUNTED = [*ADMITTED, PART]


@dataclass(frozen=True)
class Rate:
    """A rate limit of the account or key, and its use in the last window.

    A smooth rate has instead what has not flowed out of its bucket yet, and what may be used at once. A limit of
    concurrent requests has no window; its usage is the number of calls in progress.
    """

    name: str
    unit: Unit
    amount: int
    window_s: int | None
    used: int
    remaining: int
    route: str | None = None  # counts only calls of this route template
    model: str | None = None  # counts only calls of this model
    tool: str | None = None  # counts only calls of this tool, which the ledger does not know
    dry_run: bool = False  # refuses no calls
    unit_name: str | None = None  # the display name of a weighted unit
    smooth: bool = False  # at an even pace

    @property
    def most(self) -> int:
        """The units that may be used at once."""
        return gcra.burst(self.amount) if self.smooth else self.amount


@dataclass(frozen=True)
class Streams:
    """The number of open streams, the start of the oldest one, and the messages sent on them so far."""

    open: int
    oldest_at: datetime | None
    messages: int


@dataclass(frozen=True)
class LiveRates:
    """The last minute's admitted calls, their tokens, the rate limits, and open streams."""

    requests_per_minute: int
    tokens_per_minute: int
    rates: tuple[Rate, ...]
    streams: Streams


# For an account, the plan's account-wide rates; for a key, the plan's rates per key and the key's own rates.
_RATES = """/* live_rates.rates */
SELECT plan_limit.id, plan_limit.name, unit, amount, window_s, route, model, tool, dry_run, unit_name, smooth, weights
FROM plan_limit
WHERE period IS NULL AND NOT per_tag
AND CASE WHEN %(key_id)s::text IS NULL
    THEN subject = 'account' AND plan_id = (SELECT plan_id FROM account WHERE id = %(account_id)s)
    ELSE subject = 'key' AND (key_id = (SELECT id FROM key WHERE id = %(key_id)s AND account_id = %(account_id)s)
        OR plan_id = (SELECT plan_id FROM account WHERE id = %(account_id)s))
    END
ORDER BY plan_limit.name"""
_COUNT = """/* live_rates.count */
SELECT count(*) FILTER (WHERE outcome <> 'part') AS request, coalesce(sum(given + made), 0)::bigint AS token,
    coalesce(sum(given), 0)::bigint AS input_token, coalesce(sum(made), 0)::bigint AS output_token,
    coalesce(sum(cost_nanousd), 0)::bigint AS nanousd, coalesce(sum(cache_read_tokens), 0)::bigint AS cache_read_tokens,
    coalesce(sum(cache_write_tokens), 0)::bigint AS cache_write_tokens,
    coalesce(sum(reasoning_tokens), 0)::bigint AS reasoning_tokens
FROM (
    SELECT coalesce(input_tokens, 0) AS given, coalesce(output_tokens, 0) AS made, cost_nanousd,
        cache_read_tokens, cache_write_tokens, reasoning_tokens, outcome FROM event
    WHERE account_id = %(account_id)s AND time > %(since)s AND time <= %(now)s AND outcome = ANY(%(admitted)s)
    AND (%(key_id)s::text IS NULL OR key_id = %(key_id)s)
    AND (%(route)s::text IS NULL OR route = %(route)s OR starts_with(route, %(route_start)s))
    AND (%(model)s::text IS NULL OR model = %(model)s OR starts_with(model, %(model_start)s))
    LIMIT %(most)s
) AS latest"""

# A leaked service token may claim anything: sums are cut to what can be stored, and streams to a hundred years.
_STREAMS = """/* live_rates.streams */
SELECT least(coalesce(sum(open), 0), 9223372036854775807)::bigint AS open,
    least(coalesce(sum(messages), 0), 9223372036854775807)::bigint AS messages,
    min(seen_at - least(oldest_ms, 3155760000000) * interval '1 millisecond') AS oldest_at
FROM replica CROSS JOIN jsonb_to_recordset(streams) AS stream (key text, open bigint, oldest_ms bigint, messages bigint)
JOIN key ON key.id = stream.key
WHERE seen_at > clock_timestamp() - interval '5 seconds' AND streams <> '[]'
AND account_id = %(account_id)s AND (%(key_id)s::text IS NULL OR key.id = %(key_id)s)"""


def find_live_rates(
    connection: Connection, account_id: str, *, key_id: str | None = None, now: datetime | None = None
) -> LiveRates:
    """Return the live rates of an account, or of one of its keys."""
    scope = {"account_id": account_id, "key_id": key_id, "now": now or datetime.now(UTC)}
    limits = connection.execute(_RATES, scope).fetchall()
    rates = [limit["id"] for limit in limits if limit["window_s"] is not None]
    known = find_rate_use(connection, account_id, rates, key_id=key_id)
    known |= _find_slots(connection, [limit for limit in limits if limit["window_s"] is None], key_id or account_id)
    minute = _count(connection, scope, _MINUTE_S)
    counted: dict[tuple[int, str | None, str | None], dict[str, int]] = {(_MINUTE_S, None, None): minute}
    for limit in limits:
        measure = _measure(limit)
        if measure not in counted and _is_counted(limit, known[limit["id"]]):
            counted[measure] = _count(connection, scope, *measure)
    return LiveRates(
        requests_per_minute=minute["request"],
        tokens_per_minute=minute["token"],
        rates=tuple(_rate(limit, _use(limit, counted, known[limit["id"]])) for limit in limits),
        streams=_find_streams(connection, scope),
    )


def _find_slots(connection: Connection, limits: Sequence[Mapping[str, Any]], subject: str) -> dict[int, Use]:
    """Return the use of limits of concurrent requests by the limit's id."""
    names = {limit["id"]: f"{limit['id']}:{subject}" for limit in limits}
    in_use = concurrency.in_use(connection, list(names.values()))
    used = {limit["id"]: in_use.get(names[limit["id"]], 0) for limit in limits}
    return {limit["id"]: Use(used[limit["id"]], max(0, limit["amount"] - used[limit["id"]])) for limit in limits}


def _measure(limit: Mapping[str, Any]) -> tuple[int, str | None, str | None]:
    return limit["window_s"], limit["route"], limit["model"]


def _is_counted(limit: Mapping[str, Any], known: Use) -> bool:
    """Return whether the ledger may know more of a limit's use than the limit."""
    return not known.is_current and limit["window_s"] is not None and not limit["smooth"] and limit["tool"] is None


def _use(limit: Mapping[str, Any], counted: Mapping[Any, Mapping[str, int]], known: Use) -> Use:
    """Return what a limit counted if that is current, otherwise the ledger's count if that is more."""
    if not _is_counted(limit, known):
        return known
    used = max(known.used, _used(counted[_measure(limit)], limit["unit"], limit["weights"]))
    return Use(used, max(0, limit["amount"] - used))


def _rate(limit: Mapping[str, Any], use: Use) -> Rate:
    terms = {name: value for name, value in limit.items() if name not in {"id", "weights"}}
    return Rate(**terms, used=use.used, remaining=use.remaining)


def _find_streams(connection: Connection, scope: Mapping[str, Any]) -> Streams:
    with connection.cursor(row_factory=class_row(Streams)) as cursor:
        return cursor.execute(_STREAMS, scope).fetchone() or Streams(0, None, 0)


def _count(
    connection: Connection,
    scope: Mapping[str, Any],
    window_s: int,
    route: str | None = None,
    model: str | None = None,
) -> dict[str, int]:
    since = scope["now"] - timedelta(seconds=window_s)
    starts = {"route_start": _start(route), "model_start": _start(model)}
    terms = {"since": since, "route": route, "model": model, "most": _EVENTS_MAX, "admitted": _COUNTED}
    row = connection.execute(_COUNT, {**scope, **starts, **terms}, prepare=False).fetchone()
    return row or dict.fromkeys((*get_args(CountedUnit), *TOKEN_COUNTS), 0)


def _start(pattern: str | None) -> str | None:
    """Return the prefix of a pattern that ends with `*`; None if it is an exact name."""
    return pattern[:-1] if pattern is not None and pattern.endswith("*") else None


def _used(counts: Mapping[str, int], unit: CountedUnit, weights: Mapping[str, int] | None) -> int:
    if weights is None:
        return counts[unit]
    tokens = {"input_tokens": counts["input_token"], "output_tokens": counts["output_token"]}
    kinds = {name: counts[name] for name in TOKEN_COUNTS if name not in tokens}
    return Weights.from_json(dict(weights)).units(requests=counts["request"], **tokens, **kinds)
