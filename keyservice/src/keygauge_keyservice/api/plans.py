"""HTTP API for plans: create, list, read, change, and replace their limits."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, TypeAlias

from flask import Blueprint, Response
from msgspec import UNSET, Meta, Struct, UnsetType

from keygauge_keyservice.accounts import plans
from keygauge_keyservice.accounts.plans import PROVIDERS_MAX, checked_rule
from keygauge_keyservice.api.document.schema import Operation
from keygauge_keyservice.api.page import Page, next_of
from keygauge_keyservice.billing import billing
from keygauge_keyservice.billing.billing import PRICE_MAX
from keygauge_keyservice.errors import FieldError
from keygauge_keyservice.limits.limit_terms import LimitList, Limits, LimitTerms, same_names
from keygauge_keyservice.values.field_types import Name, Slug, Text, checked
from keygauge_keyservice.web.bearer_auth import actor, operator_only, own_account, owners_too
from keygauge_keyservice.web.context import services
from keygauge_keyservice.web.idempotency import idempotent
from keygauge_keyservice.web.message import answer, body, query

blueprint = Blueprint("api_plans", __name__, url_prefix="/v1/plans")

_Rule: TypeAlias = Annotated[
    str,
    Meta(
        description="a path or route template (a trailing `*` matches by prefix) and a provider",
        extra=checked(checked_rule, "wrong_text", "must be PATH=PROVIDER, e.g. /v1/chat/*=deepseek"),
    ),
]


_Rules: TypeAlias = Annotated[list[_Rule], Meta(max_length=PROVIDERS_MAX, examples=[["/v1/chat/*=deepseek"]])]
_Price: TypeAlias = Annotated[int, Meta(ge=0, le=PRICE_MAX, description="per month, in addition to usage")]
_Prorated: TypeAlias = Annotated[
    bool, Meta(description="bill by the day; otherwise the plan at month end is billed in full")
]

_SelfService: TypeAlias = Annotated[
    bool, Meta(description="owners can move their account to and from this plan in the portal; it must be prorated")
]


class NewPlan(LimitList, kw_only=True):
    """A plan to create."""

    id: Slug
    name: Name
    monthly_nanousd: _Price | None = None
    prorated: _Prorated = False
    self_service: _SelfService = False


class PlanChange(Struct):
    """Changes to a plan; omitted fields stay unchanged."""

    name: Name | UnsetType = UNSET
    limits: Limits | UnsetType = UNSET
    providers: _Rules | UnsetType = UNSET
    monthly_nanousd: _Price | UnsetType | None = UNSET
    prorated: _Prorated | UnsetType = UNSET
    self_service: _SelfService | UnsetType = UNSET

    def faults(self) -> Iterator[FieldError]:
        """Yield limits with duplicate names."""
        return same_names(self.limits or ())


class Providers(Struct):
    """Which providers answer on which routes."""

    providers: _Rules


class Plan(Struct):
    """A plan that accounts are on."""

    id: str
    name: str
    created_at: datetime
    limits: list[LimitTerms]
    providers: list[str]
    monthly_nanousd: int | None
    prorated: bool
    self_service: bool


class PlanQuery(Page):
    """A query for plans."""

    name: Annotated[Text, Meta(description="only plans with this name, ignoring case")] | None = None
    sort: Annotated[plans.Sort, Meta(description="sort order; prefix with - for descending")] = "id"


class PlanPage(Struct):
    """A page of plans."""

    plans: list[Plan]
    next: str | None


@blueprint.post("")
@operator_only
@idempotent
def create() -> Response:
    """Create a plan."""
    given = body(NewPlan)
    with services().connection() as connection:
        plans.create(connection, plan_id=given.id, name=given.name, limits=given.of_plan(), actor=actor())
        if given.monthly_nanousd is not None:
            billing.set_plan_price(connection, given.id, given.monthly_nanousd, actor=actor())
        plans.set_terms(connection, given.id, prorated=given.prorated, self_service=given.self_service, actor=actor())
        made = plans.require(connection, given.id)
    return answer(Plan, _plan(made), 201)


@blueprint.get("")
@owners_too
def list_page() -> Response:
    """List plans."""
    params = query(PlanQuery)
    with services().connection() as connection:
        found = plans.list_plans(
            connection,
            account_id=own_account(None),
            name=params.name,
            sort=params.sort,
            after=params.after or None,
            limit=params.limit,
        )
    return answer(PlanPage, PlanPage([_plan(plan) for plan in found], next_of(found, params.limit)))


@blueprint.get("/<plan_id>")
@owners_too
def read(plan_id: str) -> Response:
    """Read a plan."""
    with services().connection() as connection:
        return answer(Plan, _plan(plans.require(connection, plan_id)))


@blueprint.patch("/<plan_id>")
@operator_only
@idempotent
def change(plan_id: str) -> Response:
    """Change a plan's name, limits, price or providers, all or nothing."""
    given = body(PlanChange)
    with services().connection() as connection:
        plans.require(connection, plan_id)
        if given.name is not UNSET:
            plans.rename(connection, plan_id, given.name, actor=actor())
        if given.limits is not UNSET:
            limits = [limit.limit() for limit in given.limits]
            plans.replace_limits(connection, plan_id, limits, actor=actor())
        if given.providers is not UNSET:
            plans.set_providers(connection, plan_id, given.providers, actor=actor())
        if given.monthly_nanousd is not UNSET:
            billing.set_plan_price(connection, plan_id, given.monthly_nanousd, actor=actor())
        plans.set_terms(
            connection,
            plan_id,
            prorated=None if given.prorated is UNSET else given.prorated,
            self_service=None if given.self_service is UNSET else given.self_service,
            actor=actor(),
        )
        return answer(Plan, _plan(plans.require(connection, plan_id)))


@blueprint.delete("/<plan_id>")
@operator_only
@idempotent
def delete(plan_id: str) -> Response:
    """Delete a plan."""
    with services().connection() as connection:
        plans.delete(connection, plan_id, actor=actor())
    return Response(status=204)


@blueprint.put("/<plan_id>/limits")
@operator_only
@idempotent
def replace_limits(plan_id: str) -> Response:
    """Replace a plan's limits."""
    limits = body(LimitList).of_plan()
    with services().connection() as connection:
        return answer(Plan, _plan(plans.replace_limits(connection, plan_id, limits, actor=actor())))


@blueprint.put("/<plan_id>/providers")
@operator_only
@idempotent
def set_providers(plan_id: str) -> Response:
    """Set which providers answer on which routes of a plan's accounts."""
    given = body(Providers)
    with services().connection() as connection:
        return answer(Plan, _plan(plans.set_providers(connection, plan_id, given.providers, actor=actor())))


def _plan(plan: plans.Plan) -> Plan:
    limits = [LimitTerms.of(limit) for limit in plan.limits]
    return Plan(
        id=plan.id,
        name=plan.name,
        created_at=plan.created_at,
        limits=limits,
        providers=list(plan.providers),
        monthly_nanousd=plan.monthly_nanousd,
        prorated=plan.prorated,
        self_service=plan.self_service,
    )


PATHS = {
    "/v1/plans": {
        "post": Operation("createPlan", "Create a plan", body=NewPlan, answer=Plan, status=201),
        "get": Operation(
            "listPlans", "List plans", query=PlanQuery, answer=PlanPage, problems=(422,), security="account"
        ),
    },
    "/v1/plans/{plan_id}": {
        "get": Operation("readPlan", "Read a plan", answer=Plan, problems=(404,), security="account"),
        "patch": Operation(
            "changePlan",
            "Change a plan's name, limits, monthly price or providers, at once for all of its accounts",
            body=PlanChange,
            answer=Plan,
            problems=(404,),
        ),
        "delete": Operation("deletePlan", "Delete a plan that no account is on", status=204, problems=(404, 409)),
    },
    "/v1/plans/{plan_id}/limits": {
        "put": Operation(
            "replaceLimits",
            "Replace a plan's limits, at once for all of its accounts",
            body=LimitList,
            answer=Plan,
            problems=(404,),
        ),
    },
    "/v1/plans/{plan_id}/providers": {
        "put": Operation(
            "setProviders",
            "Set which provider answers on which routes of a plan, for prices of models whose name does not tell",
            body=Providers,
            answer=Plan,
            problems=(404,),
        ),
    },
}
