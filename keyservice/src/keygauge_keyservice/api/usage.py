"""Usage over HTTP: totals and a time series of any range, as JSON or CSV."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any, cast, get_args

from flask import Blueprint, Response, request

from keygauge_keyservice.accounts import accounts
from keygauge_keyservice.api.schema import (
    COUNTS,
    INTEGER,
    TEXT,
    TIME,
    array,
    enum,
    nullable,
    obj,
    operation,
    query,
    ref,
)
from keygauge_keyservice.api.selection import PARAMETERS, read_selection
from keygauge_keyservice.billing.forecast import find_forecast
from keygauge_keyservice.csv_stream import usd, write_csv
from keygauge_keyservice.errors import Problem
from keygauge_keyservice.fields import Fields
from keygauge_keyservice.ledger.event import TEXT_LENGTH_MAX
from keygauge_keyservice.usage import usage
from keygauge_keyservice.usage.live_rates import find_pace
from keygauge_keyservice.usage.query import Grouping
from keygauge_keyservice.usage.quota import Quota, find_quotas
from keygauge_keyservice.usage.sums import DetailedSums
from keygauge_keyservice.web.bearer_auth import operator_only
from keygauge_keyservice.web.context import services

blueprint = Blueprint("api_usage", __name__, url_prefix="/v1/usage")

_BUCKETS: tuple[tuple[timedelta, usage.Bucket], ...] = (
    (timedelta(days=3), "hour"),
    (timedelta(days=100), "day"),
    (timedelta(days=700), "week"),
    (timedelta.max, "month"),
)
_SUMS = (
    *("requests", "limited", "client_errors", "server_errors", "input_tokens", "output_tokens"),
    *("cache_read_tokens", "cache_write_tokens", "reasoning_tokens", "request_bytes", "response_bytes", "cost_nanousd"),
)
_RATIOS = ("tokens_per_request", "error_rate", "average_duration_s", "p50_s", "p95_s", "p99_s")
_SHOWN = (*_SUMS[:-1], "tokens", *_RATIOS)  # in CSV, where cost is in US dollars


@blueprint.get("")
@operator_only
def read() -> dict[str, Any] | Response:
    """Answer with the totals, the series and, for one account, its budgets."""
    given = Fields(request.args.to_dict())
    selection = read_selection(given)
    bucket = given.choice("bucket", get_args(usage.Bucket), default=_bucket(selection))
    zone = given.text("zone", length_max=TEXT_LENGTH_MAX) or "UTC"
    group_by = cast("tuple[Grouping, ...]", given.choices("group_by", get_args(Grouping)))
    form = given.choice("format", ("json", "csv"), default="json")
    given.check()
    account_id = selection["account_id"]
    with services().connection() as connection:
        if account_id is not None:
            accounts.require(connection, account_id)
        try:
            totals = usage.totals(connection, **selection)
            points = usage.series(connection, bucket=bucket, zone=zone, group_by=group_by, **selection)
            parts = usage.breakdown(connection, by=group_by, **selection) if group_by and form == "json" else []
        except usage.UsageError as error:
            raise Problem(422, "invalid", str(error)) from error
        if form == "csv":
            return _csv(points, bucket, group_by)
        quotas = find_quotas(connection, account_id) if account_id else []
        pace = find_pace(connection, account_id, key_id=selection.get("key_id")) if account_id else None
        forecast = find_forecast(connection, account_id)
    return {
        "account": account_id,
        "from": totals.start.isoformat(),
        "to": totals.end.isoformat(),
        "bucket": bucket,
        "zone": zone,
        "group_by": ",".join(group_by) or None,
        "totals": figures(totals)
        | {"requests_per_minute": totals.requests_per_minute, "tokens_per_minute": totals.tokens_per_minute},
        "points": [
            {"start": point.start.isoformat(), **group_document(group_by, point), **figures(point)} for point in points
        ],
        "groups": [{**group_document(group_by, part), **figures(part)} for part in parts],
        "quotas": [quota_document(quota) for quota in quotas],
        "pace": asdict(pace) if pace else None,
        "forecast": asdict(forecast) | {"start": forecast.start.isoformat(), "end": forecast.end.isoformat()},
    }


def _bucket(selection: usage.Selection) -> usage.Bucket:
    """Pick the bucket that suits a range."""
    try:
        length = selection["end"] - selection["start"]
    except TypeError:  # one of them has no offset: that is refused further on
        length = timedelta(0)
    return next(bucket for length_max, bucket in _BUCKETS if length <= length_max)


def group_document(group_by: Sequence[Grouping], told: usage.Point | usage.Part) -> dict[str, Any]:
    """Write which group a point or a part is of."""
    names = told.names
    return {"group": names[0] if len(names) == 1 else None, "by": dict(zip(group_by, names, strict=True))}


def figures(tally: DetailedSums) -> dict[str, Any]:
    """Write sums and what follows from them."""
    return {name: getattr(tally, name) for name in _SUMS} | {
        "details": tally.details,
        "tokens": tally.tokens,
        "tokens_per_request": tally.tokens_per_request,
        "error_rate": tally.error_rate,
        "average_duration_s": tally.average_duration_s,
        "p50_s": tally.percentile_s(0.5),
        "p95_s": tally.percentile_s(0.95),
        "p99_s": tally.percentile_s(0.99),
    }


def quota_document(quota: Quota) -> dict[str, Any]:
    """Write a quota."""
    return asdict(quota) | {"remaining": quota.remaining, "resets_at": quota.resets_at.isoformat()}


def _csv(points: list[usage.Point], bucket: str, group_by: Sequence[Grouping]) -> Response:
    kinds = sorted({kind for point in points for kind in point.details})
    names = [bucket, *group_by, *_SHOWN, *kinds, "cost_usd"]
    rows = (
        [
            point.start,
            *point.names,
            *map(figures(point).get, _SHOWN),
            *(point.details.get(kind, 0) for kind in kinds),
            usd(point.cost_nanousd),
        ]
        for point in points
    )
    return Response(
        write_csv(names, rows),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": 'attachment; filename="usage.csv"'},
    )


_RATIO = nullable({"type": "number"})
_FIGURES = {
    **dict.fromkeys((*_SUMS, "tokens"), INTEGER),
    **dict.fromkeys(_RATIOS, _RATIO),
    "details": {**COUNTS, "description": "counts of other kinds of use, by kind: audio tokens, images, searches …"},
}
_NUMBER = {"type": "number"}
_BUCKET = enum(*get_args(usage.Bucket))
_NAMES = ", ".join(get_args(Grouping))
_GROUP = {
    "group": nullable({**TEXT, "description": "its name where one dimension is told apart"}),
    "by": {
        "type": "object",
        "description": "its name by dimension",
        "properties": dict.fromkeys(get_args(Grouping), TEXT),
        "additionalProperties": False,
    },
}

SCHEMAS = {
    "UsageTotals": obj({**_FIGURES, "requests_per_minute": _NUMBER, "tokens_per_minute": _NUMBER}),
    "UsagePoint": obj({"start": TIME, **_GROUP, **_FIGURES}),
    "UsageGroup": obj({**_GROUP, **_FIGURES}),
    "Quota": obj(
        {
            "name": TEXT,
            "unit": enum("request", "token", "nanousd"),
            "period": enum("day", "month"),
            **dict.fromkeys(("key_id", "route", "model"), nullable(TEXT)),
            "amount": INTEGER,
            "used": INTEGER,
            "reserved": INTEGER,
            "counted": INTEGER,
            "remaining": INTEGER,
            "resets_at": TIME,
            "credit_nanousd": nullable({**INTEGER, "description": "a credit's worth, if in credits"}),
        }
    ),
    "Usage": obj(
        {
            "account": nullable(TEXT),
            "from": TIME,
            "to": TIME,
            "bucket": _BUCKET,
            "zone": TEXT,
            "group_by": nullable(TEXT),
            "totals": ref("UsageTotals"),
            "points": array(ref("UsagePoint")),
            "groups": array(ref("UsageGroup")),
            "quotas": array(ref("Quota")),
            "pace": nullable(ref("Pace")),
            "forecast": ref("Forecast"),
        }
    ),
    "Pace": obj(
        {
            "requests_per_minute": INTEGER,
            "tokens_per_minute": INTEGER,
            "rates": array(
                obj(
                    {
                        "name": TEXT,
                        "unit": enum("request", "token", "nanousd"),
                        "amount": INTEGER,
                        "window_s": INTEGER,
                        "route": nullable(TEXT),
                        "model": nullable(TEXT),
                        "used": INTEGER,
                    }
                )
            ),
        }
    ),
    "Forecast": obj(
        {
            "start": TIME,
            "end": TIME,
            "so_far_nanousd": INTEGER,
            "pace_nanousd": INTEGER,
            "expected_nanousd": INTEGER,
        }
    ),
}

PATHS = {
    "/v1/usage": {
        "get": operation(
            "readUsage",
            "Totals and a time series; `from` and `to` of the answer are the range used, in quarters of an hour",
            parameters=[
                query("account", TEXT, "only this account's calls"),
                query("bucket", _BUCKET, "one that suits the range where it is absent"),
                query("zone", TEXT, "the IANA time zone whose days are counted; UTC where it is absent"),
                query("group_by", TEXT, f"tell apart by one or more of {_NAMES}, with commas between them"),
                *PARAMETERS,
            ],
            answer=ref("Usage"),
            problems=(404, 422),
        )
    }
}
