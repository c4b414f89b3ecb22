"""HTTP API for a key about itself: its permissions, its limits with used and remaining amounts, and its usage."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Annotated, Any

from flask import Blueprint, Response
from msgspec import Meta, Struct, field

from keygauge.key import Environment
from keygauge.protocol import KeyQuestion, LookUp
from keygauge.weights import Weights
from keygauge_keyservice.accounts import accounts, plans
from keygauge_keyservice.api.document.schema import Operation
from keygauge_keyservice.api.usage import Kinds
from keygauge_keyservice.billing import forecast
from keygauge_keyservice.database import Connection
from keygauge_keyservice.errors import Problem
from keygauge_keyservice.keys.keys import Key
from keygauge_keyservice.limits import definitions
from keygauge_keyservice.limits.definitions import Subject, Unit
from keygauge_keyservice.limits.periods import Period
from keygauge_keyservice.reading import read_query
from keygauge_keyservice.usage import usage
from keygauge_keyservice.usage.live_rates import find_live_rates
from keygauge_keyservice.usage.quota import find_of_account, find_of_key
from keygauge_keyservice.values.field_types import Time
from keygauge_keyservice.web.bearer_auth import replica_only, service
from keygauge_keyservice.web.context import services
from keygauge_keyservice.web.key_auth import require_key, require_shown
from keygauge_keyservice.web.message import answer, message, query
from keygauge_keyservice.web.shares import Shares

blueprint = Blueprint("api_me", __name__, url_prefix="/v1")

_shares = Shares(each=2, most=6)  # for requests of metered services' callers; other threads are for events


class UsageRange(Struct):
    """The time range of a key's usage."""

    start: Annotated[Time, Meta(description="the start of the usage; default: the start of the UTC month")] | None = (
        field(name="from", default=None)
    )
    end: Annotated[Time, Meta(description="the end of the range, exclusive; default: now")] | None = field(
        name="to", default=None
    )


class OwnKey(Struct):
    """What the key is permitted to do."""

    id: str
    name: str
    environment: Environment
    scopes: list[str]
    routes: list[str]
    models: list[str]
    tools: list[str]
    networks: list[str]
    expires_at: datetime | None


class OwnPlan(Struct):
    """The plan that the key's account is on."""

    id: str
    name: str


class OwnLimit(Struct):
    """A limit that applies to the key; `used` and `remaining` are null if only the replicas know them.

    Of a smooth rate, they are what still counts and what may be used at once: a fortieth of the amount in total. Of
    concurrent requests, they are the calls in progress and the free slots.
    """

    name: str
    unit: Unit
    amount: int
    credit_nanousd: Annotated[int, Meta(description="a credit's worth, if in credits")] | None
    window_s: int | None
    period: Period | None
    anchor: date | None
    zone: str | None
    subject: Subject
    weights: Weights | None
    unit_name: str | None
    route: str | None
    model: str | None
    tool: str | None
    per_tag: Annotated[bool, Meta(description="each tag has the whole amount; there is no total")]
    dry_run: Annotated[bool, Meta(description="a dry run, which rejects no requests")]
    used: int | None = None
    remaining: int | None = None
    resets_at: Annotated[datetime, Meta(description="null for a lifetime quota")] | None = None


class OwnUsage(Struct):
    """The key's usage; `from` and `to` are the range used, in quarters of an hour."""

    start: datetime = field(name="from")
    end: datetime = field(name="to")
    requests: int
    limited: int
    client_errors: int
    server_errors: int
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    cost_nanousd: int
    kinds: Kinds


class Me(Struct):
    """The calling key's permissions, plan, limits and usage."""

    key: OwnKey
    plan: OwnPlan
    limits: list[OwnLimit]
    usage: OwnUsage


@blueprint.get("/me")
def read() -> Response:
    """Return the calling key's permissions, plan, limits and usage."""
    with services().connection() as connection:
        return _usage_answer(connection, require_key(connection), query(UsageRange))


@blueprint.post("/key-status")
@replica_only
def read_for_caller() -> Response:
    """Return the same for a key that a caller presented to a metered service."""
    question = message(KeyQuestion, code="bad_question")
    asked_by = service() or ""
    with _shares.turn(asked_by) as is_free:
        if not is_free:
            raise _busy()
        with services().connection() as connection:
            shown = [LookUp(question.key, question.digest)]
            key = require_shown(connection, shown, question.ip, service=asked_by)
            return _usage_answer(connection, key, read_query(UsageRange, question.query))


def _busy() -> Problem:
    detail = "Too many key status requests at once. Try again in a moment."
    return Problem(503, "busy", detail, headers={"Retry-After": "1"})


def _usage_answer(connection: Connection, key: Key, given: UsageRange) -> Response:
    now = datetime.now(UTC)
    end = given.end or now
    start = given.start or forecast.month_of(end)[0]
    plan = plans.require(connection, accounts.require(connection, key.account_id).plan_id)
    totals = usage.totals(connection, account_id=key.account_id, key_id=key.id, start=start, end=end)
    own = definitions.of_keys(connection, [key.id]).get(key.id, [])
    counted = _counted(connection, key, now)
    limits = [vars(limit) | counted.get((limit.subject, limit.name), {}) for limit in (*plan.limits, *own)]
    return answer(Me, {"key": key, "plan": plan, "limits": limits, "usage": totals})


def _counted(connection: Connection, key: Key, now: datetime) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the used and remaining amounts of the limits that count the key, by subject and limit name."""
    counted: dict[tuple[str, str], dict[str, Any]] = {}
    for subject, key_id in (("account", None), ("key", key.id)):
        for rate in find_live_rates(connection, key.account_id, key_id=key_id, now=now).rates:
            counted[subject, rate.name] = {"used": rate.used, "remaining": rate.remaining}
    quotas = find_of_account(connection, key.account_id, now=now)
    for quota in (*quotas, *find_of_key(connection, key.account_id, key.id, now=now)):
        counted["key" if quota.key_id else "account", quota.name] = {
            "used": quota.used,
            "remaining": quota.remaining,
            "resets_at": quota.resets_at,
        }
    return counted


PATHS = {
    "/v1/me": {
        "get": Operation(
            "readMe",
            "Read the calling key's permissions, plan, limits with used and remaining amounts, and usage",
            query=UsageRange,
            answer=Me,
            problems=(403, 422),
            security="key",
        )
    },
    "/v1/key-status": {
        "post": Operation(
            "readKeyStatus",
            "Read the same for a key presented to a metered service",
            body=KeyQuestion,
            answer=Me,
            problems=(403, 422, 429),
            security="replica",
        )
    },
}
