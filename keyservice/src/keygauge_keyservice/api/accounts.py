"""HTTP API for accounts: create, list, read, rename, change the plan, suspend, delete."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from flask import Blueprint, Response
from msgspec import UNSET, Meta, Struct, UnsetType, field

from keygauge_keyservice.accounts import accounts, notes
from keygauge_keyservice.accounts.account_terms import NewAccount
from keygauge_keyservice.accounts.notes import NewNote
from keygauge_keyservice.api.audit import AuditEntry
from keygauge_keyservice.api.document.schema import Operation
from keygauge_keyservice.api.page import Page, next_of
from keygauge_keyservice.journal import audit
from keygauge_keyservice.values.field_types import Name, Slug, Text
from keygauge_keyservice.web.bearer_auth import actor, operator_only, own_account, owners_too
from keygauge_keyservice.web.context import services
from keygauge_keyservice.web.idempotency import idempotent
from keygauge_keyservice.web.message import answer, body, query

blueprint = Blueprint("api_accounts", __name__, url_prefix="/v1/accounts")


class AccountChange(Struct):
    """Changes to an account; omitted fields stay unchanged."""

    name: Name | UnsetType = UNSET
    plan: Slug | UnsetType = UNSET
    status: accounts.Status | UnsetType = UNSET


class AccountQuery(Page):
    """A query for accounts."""

    name: Annotated[Text, Meta(description="only accounts with this name, ignoring case")] | None = None
    plan: Annotated[Text, Meta(description="only accounts on this plan")] | None = None
    status: Annotated[accounts.Status, Meta(description="only accounts with this status")] | None = None
    sort: Annotated[accounts.Sort, Meta(description="sort order; prefix with - for descending")] = "id"


class Account(Struct):
    """A customer."""

    id: str
    name: str
    plan_id: str = field(name="plan")
    status: accounts.Status
    created_at: datetime


class AccountPage(Struct):
    """A page of accounts."""

    accounts: list[Account]
    next: str | None


@blueprint.post("")
@operator_only
@idempotent
def create() -> Response:
    """Create an account."""
    given = body(NewAccount)
    with services().connection() as connection:
        made = accounts.create(connection, name=given.name, plan_id=given.plan, actor=actor())
    return answer(Account, made, 201)


@blueprint.get("")
@owners_too
def list_page() -> Response:
    """List accounts."""
    params = query(AccountQuery)
    with services().connection() as connection:
        found = accounts.list_accounts(
            connection,
            account_id=own_account(None),
            after=params.after or None,
            limit=params.limit,
            name=params.name,
            plan_id=params.plan,
            status=params.status,
            sort=params.sort,
        )
    return answer(AccountPage, {"accounts": found, "next": next_of(found, params.limit)})


@blueprint.get("/<account_id>")
@owners_too
def read(account_id: str) -> Response:
    """Read an account."""
    with services().connection() as connection:
        return answer(Account, accounts.require(connection, account_id))


@blueprint.patch("/<account_id>")
@operator_only
@idempotent
def change(account_id: str) -> Response:
    """Change an account's name, plan or status."""
    given = body(AccountChange)
    with services().connection() as connection:
        account = accounts.require(connection, account_id)
        if given.name is not UNSET:
            account = accounts.rename(connection, account_id, given.name, actor=actor())
        if given.plan is not UNSET:
            account = accounts.change_plan(connection, account_id, given.plan, actor=actor())
        if given.status is not UNSET:
            account = accounts.set_status(connection, account_id, given.status, actor=actor())
    return answer(Account, account)


@blueprint.delete("/<account_id>")
@operator_only
@idempotent
def delete(account_id: str) -> Response:
    """Delete an account that has no history."""
    with services().connection() as connection:
        accounts.delete(connection, account_id, actor=actor())
    return Response(status=204)


@blueprint.post("/<account_id>/notes")
@operator_only
@idempotent
def add_note(account_id: str) -> Response:
    """Add a support note to the account's audit log."""
    note = body(NewNote)
    with services().connection() as connection:
        notes.add(connection, account_id, note, actor=actor())
        [added] = audit.find_entries(connection, account_id, action="note.add", limit=1)
    return answer(AuditEntry, added, 201)


PATHS = {
    "/v1/accounts": {
        "post": Operation(
            "createAccount", "Create an account on a plan", body=NewAccount, answer=Account, status=201, problems=(404,)
        ),
        "get": Operation(
            "listAccounts", "List accounts", query=AccountQuery, answer=AccountPage, problems=(422,), security="account"
        ),
    },
    "/v1/accounts/{account_id}": {
        "get": Operation("readAccount", "Read an account", answer=Account, problems=(404,), security="account"),
        "patch": Operation(
            "changeAccount",
            "Change an account's name, plan or status, at once for all of its keys",
            body=AccountChange,
            answer=Account,
            problems=(404,),
        ),
        "delete": Operation(
            "deleteAccount",
            "Delete an account that never had keys or invoices, with its members; suspend others instead",
            status=204,
            problems=(404, 409),
        ),
    },
    "/v1/accounts/{account_id}/notes": {
        "post": Operation(
            "addNote",
            "Add a support note to an account's audit log, which its members can read",
            body=NewNote,
            answer=AuditEntry,
            status=201,
            problems=(404,),
        ),
    },
}
