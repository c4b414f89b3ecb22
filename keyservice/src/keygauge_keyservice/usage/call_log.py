"""The call log: an account's calls by time, paginated."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, LiteralString, NotRequired, Self, TypedDict, Unpack
from uuid import UUID

from keygauge_keyservice.database import Connect, Connection
from keygauge_keyservice.pricing.kind_costs import unpack
from keygauge_keyservice.texts import gettext
from keygauge_keyservice.usage.usage import UsageError

Sort = Literal["time", "-time"]

PAGE_MAX = 500
_STREAM_PAGE = 2_000
_SCANNED_MAX = 100_000  # calls scanned per page, since matches of a filter may be rare among millions
_SCANNED_OF_KEY_MAX = 20_000  # fewer per page for one key, whose calls are scattered on disk
_INSTANT = timedelta(microseconds=1)
_RARE = ("route", "status", "model", "ip", "tag")  # filters without an index

_is_status = re.compile(r"[1-9](xx|[0-9]{2})", re.ASCII).fullmatch


class CallFilter(TypedDict):
    """A filter for an account's calls from `start` until before `end`; the other fields narrow it further.

    With `is_partial`, route, model and tag are case-insensitive substrings, and ip is a prefix.
    """

    account_id: str
    start: datetime
    end: datetime
    key_id: NotRequired[str | None]
    route: NotRequired[str | None]
    status: NotRequired[str | None]  # a status such as 429, or a class such as 4xx
    model: NotRequired[str | None]
    ip: NotRequired[str | None]
    tag: NotRequired[str | None]
    is_partial: NotRequired[bool]


@dataclass(frozen=True)
class LoggedCall:
    """A call in the ledger; None means unknown."""

    id: UUID
    time: datetime
    account_id: str
    key_id: str
    route: str
    method: str
    status: int
    error: str | None
    ip: str | None
    duration_us: int
    first_token_us: int | None
    request_bytes: int
    response_bytes: int
    stream: str | None
    messages: int
    model: str | None
    provider: str | None
    input_tokens: int | None
    output_tokens: int | None
    cache_read_tokens: int | None
    cache_write_tokens: int | None
    reasoning_tokens: int | None
    usage_status: str
    cost_nanousd: int | None
    price_version: str | None
    outcome: str
    limit_name: str | None
    trace_id: str | None
    details: dict[str, int] | None  # counts of other kinds of use
    requested_model: str | None  # the model in the request; `model` is the one that is counted
    tag: str | None = None  # the end user named by the caller
    costs_nanousd: dict[str, int] | None = None  # non-zero costs by kind


@dataclass(frozen=True)
class Place:
    """A position in the log; the next page starts with the first call beyond it."""

    time: datetime
    id: UUID

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a position from a URL.

        Raises:
            UsageError: the text is not the `str` of a position.
        """
        time_us, _, id_ = text.partition("-")
        try:
            return cls(datetime.fromtimestamp(int(time_us) / 1_000_000, UTC), UUID(id_))
        except (ValueError, OverflowError, OSError) as error:
            raise UsageError("after", gettext("must be the `next` value of the previous page")) from error

    def __str__(self) -> str:
        return f"{round(self.time.timestamp() * 1_000_000)}-{self.id.hex}"


@dataclass(frozen=True)
class Page:
    """Calls in order; `next` is None on the last page. Earlier pages may have fewer calls than the limit, or 0."""

    calls: list[LoggedCall] = field(repr=False)
    next: Place | None


_COLUMNS = """id, time, account_id, key_id, route, method, status, error, ip, duration_us, first_token_us,
    request_bytes, response_bytes, stream, messages, model, provider, input_tokens, output_tokens, cache_read_tokens,
    cache_write_tokens, reasoning_tokens, usage_status, cost_nanousd, price_version, outcome, limit_name, trace_id,
    details, requested_model, tag, kind_costs"""
_SELECTED = """account_id = %(account_id)s AND time >= %(start)s AND time < %(end)s
AND (%(key_id)s::text IS NULL OR key_id = %(key_id)s)"""
_FILTERED = """(%(route)s::text IS NULL OR route = %(route)s
    OR (%(is_partial)s AND position(lower(%(route)s) IN lower(route)) > 0))
AND (%(status_from)s::smallint IS NULL OR status BETWEEN %(status_from)s AND %(status_to)s)
AND (%(model)s::text IS NULL OR %(model)s IN (model, requested_model)
    OR (%(is_partial)s AND position(lower(%(model)s) IN lower(concat_ws(' ', model, requested_model))) > 0))
AND (%(ip)s::text IS NULL OR ip = %(ip)s OR (%(is_partial)s AND starts_with(ip, %(ip)s)))
AND (%(tag)s::text IS NULL OR tag = %(tag)s OR (%(is_partial)s AND position(lower(%(tag)s) IN lower(tag)) > 0))"""


@dataclass(frozen=True)
class _Order:
    """The queries of one sort order: a page, and the last call that it may scan."""

    page: LiteralString
    edge: LiteralString

    @classmethod
    def of(cls, direction: LiteralString, beyond: LiteralString) -> Self:
        """Return the queries of a direction; `beyond` compares a call with one before it."""
        after = f"(%(after_id)s::uuid IS NULL OR (time, id) {beyond} (%(after_time)s::timestamptz, %(after_id)s))"
        within = f"(%(edge_id)s::uuid IS NULL OR NOT (time, id) {beyond} (%(edge_time)s::timestamptz, %(edge_id)s))"
        order = f"ORDER BY time {direction}, id {direction}"
        return cls(
            page=f"/* calls.page */ SELECT {_COLUMNS} FROM event WHERE {_SELECTED} AND {_FILTERED} "  # noqa: S608 - constants
            f"AND {after} AND {within} {order} LIMIT %(limit)s",
            edge=f"/* calls.edge */ SELECT time, id FROM event WHERE {_SELECTED} AND {after} "  # noqa: S608 - constants
            f"{order} OFFSET %(scanned_max)s LIMIT 1",
        )


_ORDERS = {"-time": _Order.of("DESC", "<"), "time": _Order.of("ASC", ">")}
_FIND = f"/* calls.find */ SELECT {_COLUMNS} FROM event WHERE account_id = %s AND time = %s AND id = %s"  # noqa: S608 - as above


def place_of(call: LoggedCall) -> str:
    """Return the position of a call as text, for URLs."""
    return str(Place(call.time, call.id))


def find_page(
    connection: Connection,
    *,
    sort: Sort = "-time",
    after: Place | None = None,
    limit: int = 50,
    **selected: Unpack[CallFilter],
) -> Page:
    """Return a page of the selected calls.

    The cost of a page is bounded, however far back it is and however rare matches are: with a filter, a page scans a
    limited number of calls, and the next page continues from there.

    Raises:
        UsageError: the status is neither a status nor a status class.
    """
    values = _parameters(selected, after, limit + 1)
    # PostgreSQL scans the index from one bound: pass the tighter one, or it would start at the range's end.
    if after:
        values |= {"start": max(selected["start"], after.time)} if sort == "time" else {"end": _past(selected, after)}
    edge = _find_edge(connection, sort, values) if any(selected.get(name) is not None for name in _RARE) else None
    if edge:
        values |= {"edge_time": edge.time, "edge_id": edge.id}
        values |= {"end": _past(selected, edge)} if sort == "time" else {"start": edge.time}
    found = connection.execute(_ORDERS[sort].page, values, prepare=False).fetchall()
    calls = [_call(row) for row in found[:limit]]
    return Page(calls, Place(calls[-1].time, calls[-1].id) if len(found) > limit else edge)


def _past(selected: CallFilter, place: Place) -> datetime:
    """Return the end of the range that includes a position and nothing later."""
    return min(selected["end"], place.time + _INSTANT)


def _find_edge(connection: Connection, sort: Sort, values: dict[str, Any]) -> Place | None:
    """Return the position of the last call that a page may scan; None if it can scan the whole range."""
    most = _SCANNED_OF_KEY_MAX if values["key_id"] else _SCANNED_MAX
    row = connection.execute(_ORDERS[sort].edge, values | {"scanned_max": most - 1}, prepare=False).fetchone()
    return Place(row["time"], row["id"]) if row else None


def find(connection: Connection, account_id: str, place: Place) -> LoggedCall | None:
    """Return an account's call by its position, or None."""
    row = connection.execute(_FIND, (account_id, place.time, place.id), prepare=False).fetchone()
    return None if row is None else _call(row)


def _call(row: dict[str, Any]) -> LoggedCall:
    cost, packed = row["cost_nanousd"], int(row.pop("kind_costs") or 0)
    return LoggedCall(**row, costs_nanousd=None if cost is None else unpack(cost, packed))


def read_all(connect: Connect, *, sort: Sort = "-time", **selected: Unpack[CallFilter]) -> Iterator[LoggedCall]:
    """Yield all selected calls in constant memory, without holding a connection while the consumer is busy."""
    after: Place | None = None
    while True:
        with connect() as connection:
            page = find_page(connection, sort=sort, after=after, limit=_STREAM_PAGE, **selected)
        yield from page.calls
        if page.next is None:
            return
        after = page.next


def _parameters(selected: CallFilter, after: Place | None, limit: int) -> dict[str, Any]:
    status = selected.get("status")
    if status is not None and not _is_status(status):
        raise UsageError("status", gettext("must be a status such as 429, or a class such as 4xx"))
    return {
        "key_id": None,
        "route": None,
        "model": None,
        "ip": None,
        "tag": None,
        "is_partial": False,
        **selected,
        "status_from": int(status.replace("x", "0")) if status else None,
        "status_to": int(status.replace("x", "9")) if status else None,
        "edge_time": None,
        "edge_id": None,
        "after_time": after and after.time,
        "after_id": after and after.id,
        "limit": limit,
    }
