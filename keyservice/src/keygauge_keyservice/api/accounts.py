"""Accounts over HTTP: create, list, read, rename, change the plan, suspend."""

from __future__ import annotations

from typing import Any, get_args

from flask import Blueprint

from keygauge_keyservice import keyset
from keygauge_keyservice.accounts import accounts
from keygauge_keyservice.api.schema import (
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
    query,
    ref,
)
from keygauge_keyservice.ledger.event import TEXT_LENGTH_MAX
from keygauge_keyservice.web import fields
from keygauge_keyservice.web.bearer_auth import actor, operator_only
from keygauge_keyservice.web.context import services
from keygauge_keyservice.web.idempotency import idempotent

blueprint = Blueprint("api_accounts", __name__, url_prefix="/v1/accounts")


@blueprint.post("")
@operator_only
@idempotent
def create() -> tuple[dict[str, Any], int]:
    """Make an account."""
    given = fields.body()
    name, plan_id = given.name("name"), given.slug("plan")
    given.check()
    with services().connection() as connection:
        return _document(accounts.create(connection, name=name, plan_id=plan_id, actor=actor())), 201


@blueprint.get("")
@operator_only
def list_page() -> dict[str, Any]:
    """List accounts."""
    after, limit = fields.page()
    given = fields.filters()
    chosen = {
        "name": given.text("name", length_max=TEXT_LENGTH_MAX),
        "plan_id": given.text("plan", length_max=TEXT_LENGTH_MAX),
        "status": given.choice("status", get_args(accounts.Status), nullable=True),
        "sort": given.choice("sort", keyset.names(accounts.SORTS), default="id"),
    }
    given.check()
    with services().connection() as connection:
        found = accounts.list_accounts(connection, after=after, limit=limit, **chosen)
    return {
        "accounts": [_document(account) for account in found],
        "next": found[-1].id if len(found) == limit else None,
    }


@blueprint.get("/<account_id>")
@operator_only
def read(account_id: str) -> dict[str, Any]:
    """Read an account."""
    with services().connection() as connection:
        return _document(accounts.require(connection, account_id))


@blueprint.patch("/<account_id>")
@operator_only
@idempotent
def change(account_id: str) -> dict[str, Any]:
    """Change an account's name, plan or status."""
    given = fields.body()
    name = given.name("name") if "name" in given else None
    plan_id = given.slug("plan") if "plan" in given else None
    status = given.choice("status", get_args(accounts.Status)) if "status" in given else None
    given.check()
    with services().connection() as connection:
        account = accounts.require(connection, account_id)
        if name is not None:
            account = accounts.rename(connection, account_id, name, actor=actor())
        if plan_id is not None:
            account = accounts.change_plan(connection, account_id, plan_id, actor=actor())
        if status is not None:
            account = accounts.set_status(connection, account_id, status, actor=actor())
        return _document(account)


def _document(account: accounts.Account) -> dict[str, Any]:
    return {
        "id": account.id,
        "name": account.name,
        "plan": account.plan_id,
        "status": account.status,
        "created_at": account.created_at.isoformat(),
    }


_ACCOUNT_ID = path("account_id")
_STATUS = enum("active", "suspended")

SCHEMAS = {"Account": obj({"id": TEXT, "name": NAME, "plan": SLUG, "status": _STATUS, "created_at": TIME})}

PATHS = {
    "/v1/accounts": {
        "post": operation(
            "createAccount",
            "Make an account on a plan",
            body=obj({"name": NAME, "plan": SLUG}),
            answer=ref("Account"),
            status=201,
            problems=(404, 409, 422),
        ),
        "get": operation(
            "listAccounts",
            "List accounts",
            parameters=[
                query("name", TEXT, "only accounts of this name, in any case"),
                query("plan", TEXT, "only accounts on this plan"),
                query("status", _STATUS, "only accounts in this state"),
                query("sort", enum(*keyset.names(accounts.SORTS)), "the order; by id where it is absent"),
                *PAGE,
            ],
            answer=obj({"accounts": array(ref("Account")), "next": nullable(TEXT)}),
            problems=(422,),
        ),
    },
    "/v1/accounts/{account_id}": {
        "get": operation(
            "readAccount", "Read an account", parameters=[_ACCOUNT_ID], answer=ref("Account"), problems=(404,)
        ),
        "patch": operation(
            "changeAccount",
            "Change an account's name, plan or status, at once for all of its keys",
            parameters=[_ACCOUNT_ID],
            body=obj({}, {"name": NAME, "plan": SLUG, "status": _STATUS}),
            answer=ref("Account"),
            problems=(404, 422),
        ),
    },
}
