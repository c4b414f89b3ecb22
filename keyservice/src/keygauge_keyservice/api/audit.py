"""HTTP API for the audit log: page by page."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from flask import Blueprint, Response
from msgspec import Meta, Struct, field

from keygauge_keyservice.accounts import accounts
from keygauge_keyservice.api.document.schema import Operation
from keygauge_keyservice.api.page import NumberedPage, next_of
from keygauge_keyservice.journal import audit
from keygauge_keyservice.values.field_types import Text, Time
from keygauge_keyservice.web.bearer_auth import own_account, owners_too
from keygauge_keyservice.web.context import services
from keygauge_keyservice.web.message import answer, query

blueprint = Blueprint("api_audit", __name__, url_prefix="/v1/audit")


class AuditQuery(NumberedPage):
    """A query for audit entries."""

    account: Annotated[Text, Meta(description="only this account's entries")] | None = None
    action: Annotated[Text, Meta(description="an action such as key.create, or a group such as key")] | None = None
    subject: Annotated[Text, Meta(description="only entries about this id")] | None = None
    actor: Annotated[Text, Meta(description="only entries by this actor, such as an e-mail address")] | None = None
    start: Annotated[Time, Meta(description="the start of the range")] | None = field(name="from", default=None)
    end: Annotated[Time, Meta(description="the end of the range, exclusive")] | None = field(name="to", default=None)
    sort: Annotated[audit.Sort, Meta(description="sort order; prefix with - for newest first")] = "-time"


class AuditEntry(Struct):
    """One action; `before` and `after` contain only what it changed."""

    id: int
    at: datetime
    account_id: str | None = field(name="account")
    actor: str
    action: str
    subject: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None


class AuditPage(Struct):
    """A page of audit entries."""

    entries: list[AuditEntry]
    next: str | None


@blueprint.get("")
@owners_too
def list_page() -> Response:
    """List audit entries of one account or of all."""
    given = query(AuditQuery)
    account_id = own_account(given.account)
    with services().connection() as connection:
        if account_id is not None:
            accounts.require(connection, account_id)
        found = audit.find_entries(
            connection,
            account_id,
            action=given.action,
            subject=given.subject,
            actor=given.actor,
            start=given.start,
            end=given.end,
            sort=given.sort,
            after=given.after,
            limit=given.limit,
        )
    return answer(AuditPage, {"entries": found, "next": next_of(found, given.limit)})


PATHS = {
    "/v1/audit": {
        "get": Operation(
            "listAudit",
            "Read the audit log",
            query=AuditQuery,
            answer=AuditPage,
            problems=(404, 422),
            security="account",
        )
    }
}
