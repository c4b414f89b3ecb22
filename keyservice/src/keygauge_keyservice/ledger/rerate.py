"""Re-rating: recomputing the cost of past calls with current prices, in the events and in all their sums."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, Self

from keygauge_keyservice.database import Connection
from keygauge_keyservice.journal import audit
from keygauge_keyservice.ledger import model_names, rollup, tags
from keygauge_keyservice.ledger.aggregate import UsageAggregate, aggregates_of
from keygauge_keyservice.ledger.event import Event
from keygauge_keyservice.ledger.rollup import Group
from keygauge_keyservice.pricing.cost import Cost, Price

_LOCK = 0x6B67_0004
_ROWS = 5_000  # read and written at a time
_DAY = timedelta(days=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FREE = Cost(0, "")

_ACCOUNTS = """/* rerate.accounts */
SELECT DISTINCT account_id FROM usage_aggregate
WHERE length_s = 86400 AND breakdown = 'status' AND inside = '' AND bucket >= %(first)s AND bucket < %(last)s
AND (%(account_id)s::text IS NULL OR account_id = %(account_id)s) ORDER BY account_id"""
_COLUMNS = """id, time, account_id, key_id, route, method, status, error, ip, duration_us, first_token_us,
    request_bytes, response_bytes, stream, messages, model, provider, input_tokens, output_tokens, cache_read_tokens,
    cache_write_tokens, reasoning_tokens, usage_status, outcome, limit_name, trace_id, details,
    requested_model, tag, cost_nanousd, price_version, kind_costs"""
_READ = f"""/* rerate.read */
SELECT {_COLUMNS} FROM event
WHERE account_id = %s AND time >= %s AND time < %s AND model IS NOT NULL"""  # noqa: S608 - only the columns above
_READ_TAGGED = f"""/* rerate.read_tagged */
SELECT {_COLUMNS} FROM event
WHERE account_id = %s AND time >= %s AND time < %s AND tag IS NOT NULL"""  # noqa: S608 - as above
_WRITE = """/* rerate.write */
UPDATE event SET cost_nanousd = new.cost_nanousd, price_version = new.price_version,
    kind_costs = nullif(new.kind_costs, 0)
FROM unnest(%s::uuid[], %s::timestamptz[], %s::bigint[], %s::text[], %s::numeric[])
    AS new (id, time, cost_nanousd, price_version, kind_costs)
WHERE event.account_id = %s AND event.time = new.time AND event.id = new.id"""
# Rows are locked in the same order as by batches before they are changed, so that concurrent batches wait and no update
# is lost.
_LOCK_AGGREGATES = """/* rerate.lock_aggregates */
SELECT FROM usage_aggregate
JOIN unnest(%s::text[], %s::integer[], %s::text[], %s::text[], %s::bigint[], %s::text[])
    AS change (account_id, length_s, breakdown, inside, bucket_s, part)
    USING (account_id, length_s, breakdown, inside, part)
WHERE usage_aggregate.account_id = %s AND usage_aggregate.bucket = to_timestamp(change.bucket_s)
ORDER BY account_id, length_s, breakdown, inside, bucket_s, part FOR NO KEY UPDATE OF usage_aggregate"""
_ADD_TO_AGGREGATES = """/* rerate.add_to_aggregates */
UPDATE usage_aggregate SET cost_nanousd = usage_aggregate.cost_nanousd + change.cost_nanousd,
    kind_costs = usage_aggregate.kind_costs + change.kind_costs
FROM unnest(%s::text[], %s::integer[], %s::text[], %s::text[], %s::bigint[], %s::text[], %s::bigint[], %s::numeric[])
    AS change (account_id, length_s, breakdown, inside, bucket_s, part, cost_nanousd, kind_costs)
WHERE usage_aggregate.account_id = %s AND usage_aggregate.account_id = change.account_id
AND usage_aggregate.length_s = change.length_s
AND usage_aggregate.breakdown = change.breakdown AND usage_aggregate.inside = change.inside
AND usage_aggregate.bucket = to_timestamp(change.bucket_s) AND usage_aggregate.part = change.part"""


@dataclass(frozen=True)
class Rerated:
    """The result of re-rating a day, or of a whole run."""

    events: int = 0  # events with a model
    changed: int = 0  # events whose cost or price version changed
    difference_nanousd: int = 0  # new cost minus old

    def __add__(self, other: Rerated) -> Rerated:
        return Rerated(
            self.events + other.events,
            self.changed + other.changed,
            self.difference_nanousd + other.difference_nanousd,
        )


class Change(NamedTuple):
    """New cost minus old, and the same for the packed costs of kinds."""

    nanousd: int = 0
    kind_costs: int = 0

    @classmethod
    def from_to(cls, before: Cost | None, after: Cost | None) -> Self:
        """Return the difference between two costs; None counts as 0."""
        was, now = before or _FREE, after or _FREE
        return cls(now.nanousd - was.nanousd, now.kind_costs - was.kind_costs)

    def __add__(self, other: Change) -> Change:  # type: ignore[override]  # a sum of changes, not of tuples
        return Change(self.nanousd + other.nanousd, self.kind_costs + other.kind_costs)


def days_of(start: datetime, end: datetime) -> list[datetime]:
    """Return the UTC days that overlap a range, since only whole days are re-rated."""
    first = start.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return [first + number * _DAY for number in range(-((first - end) // _DAY))]


def run(
    connection: Connection, days: Sequence[datetime], price: Price, *, account_id: str | None = None, actor: str
) -> Iterator[tuple[datetime, Rerated]]:
    """Re-rate whole days, each in its own transaction, and yield the result of each.

    An interrupted run can be repeated; days that are done do not change again. The audit log gets an entry in either
    case. Events past their retention keep their cost in the sums, and the usage counted by budgets is not changed.
    """
    total, done = Rerated(), 0
    try:
        for day in days:
            rerated = _rerate_day(connection, day, price, account_id)
            total, done = total + rerated, done + 1
            yield day, rerated
    finally:
        with connection.transaction():
            audit.append(
                connection,
                account_id=account_id,
                actor=actor,
                action="price.rerate",
                subject=f"{days[0]:%Y-%m-%d} to {days[-1]:%Y-%m-%d}" if days else "no day",
                after={"days": len(days), "days_done": done, **vars(total)},
            )


def _rerate_day(connection: Connection, day: datetime, price: Price, account_id: str | None) -> Rerated:
    with connection.transaction():
        connection.execute("/* rerate.prepare */ SET LOCAL statement_timeout = 0")
        connection.execute("/* rerate.lock */ SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        params = {"first": day, "last": day + _DAY, "account_id": account_id}
        accounts = connection.execute(_ACCOUNTS, params).fetchall()
        return sum((_rerate_account(connection, row["account_id"], day, price) for row in accounts), Rerated())


def _rerate_account(connection: Connection, account_id: str, day: datetime, price: Price) -> Rerated:
    differences: defaultdict[Group, Change] = defaultdict(Change)
    events = changed = 0
    for rows in _read(connection, _READ, account_id, day):
        changes = []
        events_read = [_event(row) for row in rows]
        group_of = model_names.grouping_of_past(connection, events_read)
        for row, event in zip(rows, events_read, strict=True):
            before = _cost(row)
            after = price(event)
            if after != before:
                changes.append((row["id"], row["time"], *(after or (None, None, None))))
                differences[group_of(event)] += Change.from_to(before, after)
        _write_events(connection, account_id, changes)
        events, changed = events + len(rows), changed + len(changes)
    differing = {group: change for group, change in differences.items() if any(change)}
    _add_to_sums(connection, account_id, differing)
    if differing and tags.has_any(connection, account_id, day):
        tags.rewrite(connection, account_id, day, lambda: _tagged(connection, account_id, day))
    return Rerated(events, changed, sum(change.nanousd for change in differing.values()))


def _read(connection: Connection, query: str, account_id: str, day: datetime) -> Iterator[list[dict[str, Any]]]:
    with connection.cursor(name="rerate") as cursor:
        cursor.execute(query, (account_id, day, day + _DAY))
        while rows := cursor.fetchmany(_ROWS):
            yield rows


def _tagged(connection: Connection, account_id: str, day: datetime) -> Iterator[tuple[Event, Cost | None]]:
    for rows in _read(connection, _READ_TAGGED, account_id, day):
        for row in rows:
            yield _event(row), _cost(row)


def _write_events(connection: Connection, account_id: str, changes: Sequence[tuple[Any, ...]]) -> None:
    if changes:
        connection.execute(_WRITE, [*(list(column) for column in zip(*changes, strict=True)), account_id])


def _add_to_sums(connection: Connection, account_id: str, differences: Mapping[Group, Change]) -> None:
    """Add to one account's sums; each statement names the account, by which a distributed ledger routes it."""
    if not differences:
        return
    usage_aggregates: defaultdict[UsageAggregate, Change] = defaultdict(Change)
    for group, difference in differences.items():
        for usage_aggregate in aggregates_of(group):
            usage_aggregates[usage_aggregate] += difference
    rollup.write(connection, {group: rollup.cost_alone(*change) for group, change in differences.items()})
    keys = [list(column) for column in zip(*usage_aggregates, strict=True)]
    connection.execute(_LOCK_AGGREGATES, [*keys, account_id])
    added = [list(column) for column in zip(*usage_aggregates.values(), strict=True)]
    connection.execute(_ADD_TO_AGGREGATES, [*keys, *added, account_id])


def _cost(row: Mapping[str, Any]) -> Cost | None:
    if row["cost_nanousd"] is None:
        return None
    return Cost(row["cost_nanousd"], row["price_version"], int(row["kind_costs"] or 0))


def _event(row: Mapping[str, Any]) -> Event:
    values = {name: row[name] for name in Event._fields if name in row}
    return Event(
        **values,
        time_us=(row["time"] - _EPOCH) // timedelta(microseconds=1),
        account=row["account_id"],
        key=row["key_id"],
        limit=row["limit_name"],
    )
