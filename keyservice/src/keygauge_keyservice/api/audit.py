"""The audit record over HTTP: newest first, page by page."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, request

from keygauge_keyservice.accounts import accounts
from keygauge_keyservice.api.schema import INTEGER, TEXT, TIME, array, nullable, obj, operation, query, ref
from keygauge_keyservice.errors import FieldError, invalid
from keygauge_keyservice.fields import Fields
from keygauge_keyservice.journal import audit
from keygauge_keyservice.ledger.event import TEXT_LENGTH_MAX
from keygauge_keyservice.web.bearer_auth import operator_only
from keygauge_keyservice.web.context import services

blueprint = Blueprint("api_audit", __name__, url_prefix="/v1/audit")

_ID_MAX = 2**63 - 1


@blueprint.get("")
@operator_only
def list_page() -> dict[str, Any]:
    """Answer with a page of entries: of an account, or of all."""
    given = Fields(request.args.to_dict())
    account_id = given.text("account", length_max=TEXT_LENGTH_MAX)
    chosen = {name: given.text(name, length_max=TEXT_LENGTH_MAX) for name in ("action", "subject")}
    after, limit = _number(given, "after", _ID_MAX, None), _number(given, "limit", audit.PAGE_MAX, 100)
    given.check()
    with services().connection() as connection:
        if account_id is not None:
            accounts.require(connection, account_id)
        found = audit.find_entries(connection, account_id, before_id=after, limit=limit or 0, **chosen)
    return {
        "entries": [_document(entry) for entry in found],
        "next": str(found[-1].id) if len(found) == limit else None,
    }


def _number(given: Fields, field: str, most: int, default: int | None) -> int | None:
    text = given.text(field, length_max=TEXT_LENGTH_MAX)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:20]) <= most):
        raise invalid(FieldError(field, "wrong_number", f"give a whole number from 1 to {most}"))
    return int(text)


def _document(entry: audit.Entry) -> dict[str, Any]:
    document = vars(entry) | {"at": entry.at.isoformat(), "account": entry.account_id}
    del document["account_id"]
    return document


_CHANGE = nullable({"type": "object"})

SCHEMAS = {
    "AuditEntry": obj(
        {
            "id": INTEGER,
            "at": TIME,
            "account": nullable(TEXT),
            "actor": TEXT,
            "action": TEXT,
            "subject": TEXT,
            "before": _CHANGE,
            "after": _CHANGE,
        }
    )
}

PATHS = {
    "/v1/audit": {
        "get": operation(
            "listAudit",
            "What was changed by whom, newest first",
            parameters=[
                query("account", TEXT, "only this account's entries"),
                query("action", TEXT, "one, such as key.create, or the first word of some, such as key"),
                query("subject", TEXT, "only entries of this id"),
                query("after", {"type": "string", "pattern": "^[0-9]+$"}, "the `next` of the page before"),
                query("limit", {"type": "integer", "minimum": 1, "maximum": audit.PAGE_MAX}, "how many at most; 100"),
            ],
            answer=obj({"entries": array(ref("AuditEntry")), "next": nullable(TEXT)}),
            problems=(404, 422),
        )
    }
}
