"""Accounts over HTTP: create, list, read, change the plan, suspend."""

from __future__ import annotations

from datetime import datetime

from flask import Blueprint, Response
from msgspec import UNSET, Struct, UnsetType, field

from keygauge_keyservice.accounts import accounts
from keygauge_keyservice.accounts.account_terms import NewAccount
from keygauge_keyservice.api.page import Page, next_of
from keygauge_keyservice.api.schema import Operation
from keygauge_keyservice.field_types import Slug
from keygauge_keyservice.web.bearer_auth import actor, operator_only
from keygauge_keyservice.web.context import services
from keygauge_keyservice.web.idempotency import idempotent
from keygauge_keyservice.web.message import answer, body, query

blueprint = Blueprint("api_accounts", __name__, url_prefix="/v1/accounts")


class AccountChange(Struct):
    """What of an account is changed; what is not given stays."""

    plan: Slug | UnsetType = UNSET
    status: accounts.Status | UnsetType = UNSET


class Account(Struct):
    """A customer."""

    id: str
    name: str
    plan_id: str = field(name="plan")
    status: accounts.Status
    created_at: datetime


class AccountPage(Struct):
    """Some accounts."""

    accounts: list[Account]
    next: str | None


@blueprint.post("")
@operator_only
@idempotent
def create() -> Response:
    """Make an account."""
    given = body(NewAccount)
    with services().connection() as connection:
        made = accounts.create(connection, name=given.name, plan_id=given.plan, actor=actor())
    return answer(Account, made, 201)


@blueprint.get("")
@operator_only
def list_page() -> Response:
    """List accounts."""
    page = query(Page)
    with services().connection() as connection:
        found = accounts.list_accounts(connection, after=page.after, limit=page.limit)
    return answer(AccountPage, {"accounts": found, "next": next_of(found, page.limit)})


@blueprint.get("/<account_id>")
@operator_only
def read(account_id: str) -> Response:
    """Read an account."""
    with services().connection() as connection:
        return answer(Account, accounts.require(connection, account_id))


@blueprint.patch("/<account_id>")
@operator_only
@idempotent
def change(account_id: str) -> Response:
    """Change an account's plan or status."""
    given = body(AccountChange)
    with services().connection() as connection:
        account = accounts.require(connection, account_id)
        if given.plan is not UNSET:
            account = accounts.change_plan(connection, account_id, given.plan, actor=actor())
        if given.status is not UNSET:
            account = accounts.set_status(connection, account_id, given.status, actor=actor())
    return answer(Account, account)


PATHS = {
    "/v1/accounts": {
        "post": Operation(
            "createAccount", "Make an account on a plan", body=NewAccount, answer=Account, status=201, problems=(404,)
        ),
        "get": Operation("listAccounts", "List accounts by id", query=Page, answer=AccountPage, problems=(422,)),
    },
    "/v1/accounts/{account_id}": {
        "get": Operation("readAccount", "Read an account", answer=Account, problems=(404,)),
        "patch": Operation(
            "changeAccount",
            "Change an account's plan or status, at once for all of its keys",
            body=AccountChange,
            answer=Account,
            problems=(404,),
        ),
    },
}
