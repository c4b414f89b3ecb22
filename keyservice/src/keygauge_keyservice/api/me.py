"""What a key may ask about itself: its permissions, its limits with what is used and left, and its usage."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, request

from keygauge_keyservice.accounts import accounts, plans
from keygauge_keyservice.api.schema import INTEGER, TEXT, TIME, array, enum, nullable, obj, operation, query, ref
from keygauge_keyservice.billing import forecast
from keygauge_keyservice.database import Connection
from keygauge_keyservice.errors import Problem
from keygauge_keyservice.fields import Fields
from keygauge_keyservice.keys.keys import Key
from keygauge_keyservice.limits import definitions
from keygauge_keyservice.limits.definitions import Limit
from keygauge_keyservice.usage import usage
from keygauge_keyservice.usage.live_rates import find_pace
from keygauge_keyservice.usage.quota import find_quotas
from keygauge_keyservice.web.context import services
from keygauge_keyservice.web.key_auth import require_key

blueprint = Blueprint("api_me", __name__, url_prefix="/v1/me")

_TERMS = ("id", "name", "environment", "scopes", "routes", "models", "networks")
_SUMS = (
    *("requests", "limited", "client_errors", "server_errors", "input_tokens", "output_tokens"),
    *("cache_read_tokens", "cache_write_tokens", "reasoning_tokens", "cost_nanousd"),
)


@blueprint.get("")
def read() -> dict[str, Any]:
    """Answer with what holds for the key that asks, and what it used."""
    now = datetime.now(UTC)
    with services().connection() as connection:
        key = require_key(connection)
        given = Fields(request.args.to_dict())
        end = given.time("to") or now
        start = given.time("from") or forecast.month_of(end)[0]
        given.check()
        plan = plans.require(connection, accounts.require(connection, key.account_id).plan_id)
        try:
            totals = usage.totals(connection, account_id=key.account_id, key_id=key.id, start=start, end=end)
        except usage.UsageError as error:
            raise Problem(422, "invalid", str(error)) from error
        own = definitions.of_keys(connection, [key.id]).get(key.id, [])
        counted = _counted(connection, key, now)
    return {
        "key": {name: getattr(key, name) for name in _TERMS}
        | {"expires_at": key.expires_at.isoformat() if key.expires_at else None},
        "plan": {"id": plan.id, "name": plan.name},
        "limits": [_limit(limit, counted) for limit in (*plan.limits, *own)],
        "usage": {"from": totals.start.isoformat(), "to": totals.end.isoformat()}
        | {name: getattr(totals, name) for name in _SUMS},
    }


def _counted(connection: Connection, key: Key, now: datetime) -> dict[tuple[str, str], dict[str, Any]]:
    """Return what is used of the limits that count the key: by whom they count, and their name."""
    counted: dict[tuple[str, str], dict[str, Any]] = {}
    for whose, key_id in (("account", None), ("key", key.id)):
        for rate in find_pace(connection, key.account_id, key_id=key_id, now=now).rates:
            counted[whose, rate.name] = {"used": rate.used, "remaining": max(0, rate.amount - rate.used)}
    for quota in find_quotas(connection, key.account_id, now=now):
        if quota.key_id in {None, key.id}:
            counted["key" if quota.key_id else "account", quota.name] = {
                "used": quota.used,
                "remaining": quota.remaining,
                "resets_at": quota.resets_at.isoformat(),
            }
    return counted


def _limit(limit: Limit, counted: dict[tuple[str, str], dict[str, Any]]) -> dict[str, Any]:
    nothing = {"used": None, "remaining": None, "resets_at": None}  # of concurrency only the replicas know
    told = {name: getattr(limit, name) for name in ("name", "unit", "amount", "window_s", "period", "subject")}
    return told | {"route": limit.route, "model": limit.model} | nothing | counted.get((limit.subject, limit.name), {})


SCHEMAS = {
    "OwnKey": obj(
        {
            **dict.fromkeys(("id", "name", "environment"), TEXT),
            **dict.fromkeys(("scopes", "routes", "models", "networks"), array(TEXT)),
            "expires_at": nullable(TIME),
        }
    ),
    "OwnLimit": obj(
        {
            **dict.fromkeys(("name", "unit"), TEXT),
            "amount": INTEGER,
            "window_s": nullable(INTEGER),
            "period": nullable(enum("day", "month")),
            "subject": enum("account", "key"),
            **dict.fromkeys(("route", "model"), nullable(TEXT)),
            **dict.fromkeys(("used", "remaining"), nullable(INTEGER)),
            "resets_at": nullable(TIME),
        }
    ),
    "OwnUsage": obj({"from": TIME, "to": TIME, **dict.fromkeys(_SUMS, INTEGER)}),
}

PATHS = {
    "/v1/me": {
        "get": operation(
            "readMe",
            "What holds for the API key that asks: permissions, plan, limits with what is used and left, and its usage",
            parameters=[
                query("from", TIME, "the usage's first moment; the UTC month's beginning where it is absent"),
                query("to", TIME, "the first moment after the range; now where it is absent"),
            ],
            answer=obj(
                {
                    "key": ref("OwnKey"),
                    "plan": obj({"id": TEXT, "name": TEXT}),
                    "limits": array(ref("OwnLimit")),
                    "usage": ref("OwnUsage"),
                }
            ),
            problems=(403, 422),
            security="key",
        )
    }
}
