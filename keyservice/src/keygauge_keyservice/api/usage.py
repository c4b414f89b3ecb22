"""HTTP API for usage: totals and a time series of any range, as JSON or CSV."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Annotated, Any, TypeAlias, cast, get_args

from flask import Blueprint, Response
from msgspec import Meta, Struct, field, structs

from keygauge.kinds import CHARGED
from keygauge_keyservice import reading
from keygauge_keyservice.accounts import accounts
from keygauge_keyservice.api.document.schema import Operation
from keygauge_keyservice.api.selection import CallSelection
from keygauge_keyservice.billing.forecast import Forecast, find_forecast
from keygauge_keyservice.csv_stream import usd, write_csv
from keygauge_keyservice.limits.definitions import CountedUnit
from keygauge_keyservice.limits.periods import Period
from keygauge_keyservice.usage import usage
from keygauge_keyservice.usage.buckets import Bucket
from keygauge_keyservice.usage.live_rates import LiveRates, find_live_rates
from keygauge_keyservice.usage.query import Grouping
from keygauge_keyservice.usage.quota import KEYS_MAX, find_quotas
from keygauge_keyservice.usage.sums import DetailedSums, KindUse
from keygauge_keyservice.values.field_types import Text, checked, matching
from keygauge_keyservice.web.bearer_auth import own_account, owners_too
from keygauge_keyservice.web.context import services
from keygauge_keyservice.web.message import answer, query

blueprint = Blueprint("api_usage", __name__, url_prefix="/v1/usage")

_NAMES = ", ".join(get_args(Grouping))


def _is_grouping(text: str) -> bool:
    words = text.split(",")
    return set(words) <= set(get_args(Grouping)) and len(set(words)) == len(words)


Groups: TypeAlias = Annotated[
    str,
    Meta(
        description=f"group by one or more of {_NAMES}, separated by commas",
        extra=checked(
            matching(_is_grouping), "wrong_choice", f"must be a comma-separated list of {_NAMES}, each at most once"
        ),
    ),
]
_BUCKETS: tuple[tuple[timedelta, Bucket], ...] = (
    (timedelta(days=3), "hour"),
    (timedelta(days=100), "day"),
    (timedelta(days=700), "week"),
    (timedelta.max, "month"),
)


Kinds: TypeAlias = Annotated[
    dict[str, KindUse],
    Meta(
        description="the same by kind of use (input, cache_read, output …): no token is counted twice, and "
        "their costs add up to `cost_nanousd`"
    ),
]


class UsageQuery(CallSelection):
    """A query for usage: the calls to sum and how to group them."""

    account: Annotated[Text, Meta(description="only this account's calls")] | None = None
    bucket: Annotated[Bucket, Meta(description="default: one that fits the range")] | None = None
    zone: Annotated[Text, Meta(description="the time zone of days: an IANA name or an offset such as +03:00")] = "UTC"
    group_by: Groups | None = None


class Figures(Struct):
    """Sums over calls, and averages and rates derived from them."""

    requests: int
    limited: int
    client_errors: int
    server_errors: int
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    request_bytes: int
    response_bytes: int
    tokens: int
    tokens_per_request: float | None
    error_rate: float | None
    average_duration_s: float | None
    p50_s: float | None
    p95_s: float | None
    p99_s: float | None
    cost_nanousd: int
    kinds: Kinds
    details: Annotated[
        dict[str, int], Meta(description="counts of other kinds of use, by kind: audio tokens, images, searches …")
    ]


class UsageTotals(Figures):
    """The sums of the whole range."""

    requests_per_minute: float
    tokens_per_minute: float


class UsageGroup(Figures):
    """The sums of one group."""

    group: Annotated[str, Meta(description="its name, when grouped by one dimension")] | None
    by: Annotated[dict[Grouping, str], Meta(description="its name by dimension")]


class UsagePoint(UsageGroup):
    """The sums of one time bucket and, if grouped, of one group."""

    start: datetime


class Quota(Struct):
    """A quota of the account or of one of its keys, in its current period."""

    name: str
    unit: CountedUnit
    period: Period
    anchor: date | None
    zone: Annotated[str, Meta(description="the IANA time zone of its periods; null: UTC")] | None
    key_id: str | None
    route: str | None
    model: str | None
    tool: str | None
    dry_run: Annotated[bool, Meta(description="a dry run, which rejects no requests")]
    amount: int
    used: int
    reserved: int
    counted: int
    remaining: int
    starts_at: datetime
    resets_at: Annotated[datetime, Meta(description="null for a lifetime quota")] | None
    credit_nanousd: Annotated[int, Meta(description="a credit's worth, if in credits")] | None
    unit_name: Annotated[str, Meta(description="the display name of a weighted unit")] | None


class Usage(Struct):
    """Usage and quotas; `from` and `to` are the range used, in quarters of an hour."""

    account: str | None
    start: datetime = field(name="from")
    end: datetime = field(name="to")
    bucket: Bucket
    zone: str
    group_by: str | None
    totals: UsageTotals
    points: list[UsagePoint]
    groups: list[UsageGroup]
    quotas: Annotated[
        list[Quota],
        Meta(
            description=f"the quotas of the account and its keys, or of `key`; of more than {KEYS_MAX} keys the fullest"
        ),
    ]
    pace: LiveRates | None
    forecast: Forecast


_SHOWN = [name for name in Figures.__struct_fields__ if name not in {"cost_nanousd", "kinds", "details"}]  # in CSV


@blueprint.get("")
@owners_too
def read() -> Response:
    """Return the totals, the time series and, for one account, its quotas."""
    given = query(UsageQuery)
    (start, end), account_id = given.range(), own_account(given.account)
    selection = usage.Selection(
        account_id=account_id,
        start=start,
        end=end,
        key_id=given.key,
        route=given.route,
        model=given.model,
        tag=given.tag,
    )
    bucket = given.bucket or _bucket(end - start)
    group_by = cast("tuple[Grouping, ...]", tuple(given.group_by.split(",") if given.group_by else ()))
    is_csv = given.format == "csv"
    with services().connection() as connection:
        if account_id is not None:
            accounts.require(connection, account_id)
        totals = usage.totals(connection, **selection)
        points = usage.series(connection, bucket=bucket, zone=given.zone, group_by=group_by, **selection)
        parts = usage.breakdown(connection, by=group_by, **selection) if group_by and not is_csv else []
        if is_csv:
            return _csv(points, bucket, group_by)
        quotas = find_quotas(connection, account_id, key_id=given.key) if account_id else []
        pace = find_live_rates(connection, account_id, key_id=given.key) if account_id else None
        forecast = find_forecast(connection, account_id)
    content = {
        "account": account_id,
        "from": totals.start,
        "to": totals.end,
        "bucket": bucket,
        "zone": given.zone,
        "group_by": given.group_by,
        "totals": totals,
        "points": [{"start": point.start, **group_names(group_by, point), **figures(point)} for point in points],
        "groups": [{**group_names(group_by, part), **figures(part)} for part in parts],
        "quotas": quotas,
        "pace": pace,
        "forecast": forecast,
    }
    return answer(Usage, content)


def _bucket(length: timedelta) -> Bucket:
    """Return the bucket that suits a range."""
    return next(bucket for length_max, bucket in _BUCKETS if length <= length_max)


def group_names(group_by: Sequence[Grouping], sums: usage.Point | usage.Part) -> dict[str, Any]:
    """Return the group's name or names of a point or part."""
    names = sums.names
    return {"group": names[0] if len(names) == 1 else None, "by": dict(zip(group_by, names, strict=True))}


def figures(sums: DetailedSums) -> dict[str, Any]:
    """Return sums and the averages and rates derived from them."""
    return structs.asdict(reading.convert(sums, Figures))


def _csv(points: list[usage.Point], bucket: str, group_by: Sequence[Grouping]) -> Response:
    kinds = sorted({kind for point in points for kind in point.details})
    charged = [kind for kind in CHARGED if any(point.cost_of(kind) for point in points)]
    names = [bucket, *group_by, *_SHOWN, *kinds, *(f"{kind}_cost_usd" for kind in charged), "cost_usd"]
    rows = (
        [
            point.start,
            *point.names,
            *map(figures(point).get, _SHOWN),
            *(point.details.get(kind, 0) for kind in kinds),
            *(usd(point.cost_of(kind)) for kind in charged),
            usd(point.cost_nanousd),
        ]
        for point in points
    )
    return Response(
        write_csv(names, rows),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": 'attachment; filename="usage.csv"'},
    )


PATHS = {
    "/v1/usage": {
        "get": Operation(
            "readUsage",
            "Totals and a time series; `from` and `to` of the answer are the range used, in quarters of an hour",
            query=UsageQuery,
            answer=Usage,
            problems=(404, 422),
            security="account",
        )
    }
}
