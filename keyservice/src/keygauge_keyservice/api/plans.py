"""Plans over HTTP: create, list, read, change, and replace their limits."""

from __future__ import annotations

from typing import Any

from flask import Blueprint

from keygauge_keyservice.accounts import plans
from keygauge_keyservice.accounts.plans import PROVIDERS_MAX, checked_rule
from keygauge_keyservice.api.schema import (
    FLAG,
    INTEGER,
    NAME,
    PAGE,
    SLUG,
    TEXT,
    TIME,
    array,
    enum,
    nullable,
    obj,
    operation,
    path,
    ref,
)
from keygauge_keyservice.billing import billing
from keygauge_keyservice.billing.billing import PRICE_MAX
from keygauge_keyservice.fields import Fields
from keygauge_keyservice.limits.limit_terms import LIMITS_MAX, UNITS, WINDOW_S_MAX, limit_document, read_limits
from keygauge_keyservice.web import fields
from keygauge_keyservice.web.bearer_auth import actor, operator_only
from keygauge_keyservice.web.context import services
from keygauge_keyservice.web.idempotency import idempotent

blueprint = Blueprint("api_plans", __name__, url_prefix="/v1/plans")


@blueprint.post("")
@operator_only
@idempotent
def create() -> tuple[dict[str, Any], int]:
    """Make a plan."""
    given = fields.body()
    plan_id, name, limits = given.slug("id"), given.name("name"), read_limits(given)
    price = _price(given)
    given.check()
    with services().connection() as connection:
        plans.create(connection, plan_id=plan_id, name=name, limits=limits, actor=actor())
        if price is not None:
            billing.set_plan_price(connection, plan_id, price, actor=actor())
        return _document(plans.require(connection, plan_id)), 201


@blueprint.get("")
@operator_only
def list_page() -> dict[str, Any]:
    """List plans."""
    after, limit = fields.page()
    with services().connection() as connection:
        found = plans.list_plans(connection, after=after, limit=limit)
    return {"plans": [_document(plan) for plan in found], "next": found[-1].id if len(found) == limit else None}


@blueprint.get("/<plan_id>")
@operator_only
def read(plan_id: str) -> dict[str, Any]:
    """Read a plan."""
    with services().connection() as connection:
        return _document(plans.require(connection, plan_id))


@blueprint.patch("/<plan_id>")
@operator_only
@idempotent
def change(plan_id: str) -> dict[str, Any]:
    """Change a plan's name, limits, price or providers: all that is given or nothing."""
    given = fields.body()
    name = given.name("name") if "name" in given else None
    limits = read_limits(given) if "limits" in given else None
    rules = _rules(given) if "providers" in given else None
    price = _price(given)
    given.check()
    with services().connection() as connection:
        plans.require(connection, plan_id)
        if name is not None:
            plans.rename(connection, plan_id, name, actor=actor())
        if limits is not None:
            plans.replace_limits(connection, plan_id, limits, actor=actor())
        if rules is not None:
            plans.set_providers(connection, plan_id, rules, actor=actor())
        if "monthly_nanousd" in given:
            billing.set_plan_price(connection, plan_id, price, actor=actor())
        return _document(plans.require(connection, plan_id))


@blueprint.put("/<plan_id>/limits")
@operator_only
@idempotent
def replace_limits(plan_id: str) -> dict[str, Any]:
    """Give a plan other limits."""
    given = fields.body()
    limits = read_limits(given)
    given.check()
    with services().connection() as connection:
        return _document(plans.replace_limits(connection, plan_id, limits, actor=actor()))


@blueprint.put("/<plan_id>/providers")
@operator_only
@idempotent
def set_providers(plan_id: str) -> dict[str, Any]:
    """Say whose answers the routes give to a plan's accounts."""
    given = fields.body()
    rules = _rules(given)
    given.check()
    with services().connection() as connection:
        return _document(plans.set_providers(connection, plan_id, rules, actor=actor()))


def _rules(given: Fields) -> list[str]:
    return given.texts("providers", checked_rule, most=PROVIDERS_MAX, hint="PATH=PROVIDER, e.g. /v1/chat/*=deepseek")


def _price(given: Fields) -> int | None:
    price: int | None = given.integer("monthly_nanousd", least=0, most=PRICE_MAX, nullable=True)
    return price


def _document(plan: plans.Plan) -> dict[str, Any]:
    return {
        "id": plan.id,
        "name": plan.name,
        "created_at": plan.created_at.isoformat(),
        "limits": [limit_document(limit) for limit in plan.limits],
        "providers": list(plan.providers),
        "monthly_nanousd": plan.monthly_nanousd,
    }


_LIMITS = {**array(ref("Limit")), "maxItems": LIMITS_MAX}
_PROVIDERS = {
    **array(
        {**TEXT, "description": "a path or a route template, `*` at its end for all that begin so, and a provider"}
    ),
    "maxItems": PROVIDERS_MAX,
    "examples": [["/v1/chat/*=deepseek"]],
}
_PLAN_ID = path("plan_id")
_PRICE = nullable({**INTEGER, "minimum": 0, "maximum": PRICE_MAX, "description": "a month, beside the usage"})

SCHEMAS = {
    "Limit": obj(
        {
            "name": SLUG,
            "unit": enum(*UNITS),
            "amount": {**INTEGER, "minimum": 0},
        },
        {
            "window_s": nullable({**INTEGER, "minimum": 1, "maximum": WINDOW_S_MAX}),
            "period": nullable(enum("day", "month")),
            "subject": {**enum("account", "key"), "default": "account"},
            "when_down": {**enum("closed", "safe"), "default": "closed"},
            "dry_run": {**FLAG, "default": False},
            "smooth": {**FLAG, "default": False},
            "route": nullable(TEXT),
            "model": nullable(TEXT),
            "output_default": nullable({**INTEGER, "minimum": 1}),
            "when_unpriced": {**enum("admit", "refuse"), "default": "admit"},
            "credit_nanousd": nullable({**INTEGER, "minimum": 1, "description": "of the unit credit: its worth"}),
        },
    ),
    "Plan": obj(
        {
            "id": SLUG,
            "name": NAME,
            "created_at": TIME,
            "limits": _LIMITS,
            "providers": _PROVIDERS,
            "monthly_nanousd": _PRICE,
        }
    ),
}

PATHS = {
    "/v1/plans": {
        "post": operation(
            "createPlan",
            "Make a plan",
            body=obj({"id": SLUG, "name": NAME, "limits": _LIMITS}, {"monthly_nanousd": _PRICE}),
            answer=ref("Plan"),
            status=201,
            problems=(409, 422),
        ),
        "get": operation(
            "listPlans",
            "List plans by id",
            parameters=PAGE,
            answer=obj({"plans": array(ref("Plan")), "next": nullable(TEXT)}),
            problems=(422,),
        ),
    },
    "/v1/plans/{plan_id}": {
        "get": operation("readPlan", "Read a plan", parameters=[_PLAN_ID], answer=ref("Plan"), problems=(404,)),
        "patch": operation(
            "changePlan",
            "Change a plan's name, limits, monthly price or providers, at once for all of its accounts",
            parameters=[_PLAN_ID],
            body=obj({}, {"name": NAME, "limits": _LIMITS, "monthly_nanousd": _PRICE, "providers": _PROVIDERS}),
            answer=ref("Plan"),
            problems=(404, 422),
        ),
    },
    "/v1/plans/{plan_id}/limits": {
        "put": operation(
            "replaceLimits",
            "Give a plan other limits, at once for all of its accounts",
            parameters=[_PLAN_ID],
            body=obj({"limits": _LIMITS}),
            answer=ref("Plan"),
            problems=(404, 422),
        ),
    },
    "/v1/plans/{plan_id}/providers": {
        "put": operation(
            "setProviders",
            "Say whose answers the routes give to a plan's accounts, where their models do not tell; for their price",
            parameters=[_PLAN_ID],
            body=obj({"providers": _PROVIDERS}),
            answer=ref("Plan"),
            problems=(404, 422),
        ),
    },
}
