"""The audit page: who changed what in the account, newest first; also as CSV and JSON."""

from __future__ import annotations

import json
from typing import Any

from flask import Blueprint, Response, render_template, request

from keygauge_keyservice.accounts import members
from keygauge_keyservice.errors import Problem
from keygauge_keyservice.journal import audit
from keygauge_keyservice.journal.audit import Entry
from keygauge_keyservice.portal import audit_text, auth, own_keys
from keygauge_keyservice.texts import each, gettext, mark
from keygauge_keyservice.web.context import services
from keygauge_keyservice.web.exact_json import exact_json
from keygauge_keyservice.web.export import as_csv

blueprint = Blueprint("audit", __name__)

_PAGE = 50
_KINDS = {
    "key": mark("Keys"),
    "member": mark("Members"),
    "plan": mark("Plan"),
    "account": mark("Account"),
    "note": mark("Support notes"),
}
_TEXT_LENGTH_MAX = 100
_ID_MAX = 2**63 - 1


@blueprint.get("/audit")
def show() -> str:
    """Show a page of entries."""
    chosen, account_id = _chosen(), auth.current_account_id()
    with services().connection() as connection:
        found = audit.find_entries(connection, account_id, after=_before(), limit=_PAGE + 1, **chosen)
        names = own_keys.names(connection, {entry.subject for entry in found})
        names |= {str(member.id): member.email for member in members.list_members(connection, account_id)}
        names[account_id] = gettext("the account")
    shown = found[:_PAGE]
    return render_template(
        "portal/audit.html",
        found=shown,
        names=names,
        audit_text=audit_text,
        kinds=each(_KINDS),
        chosen=chosen,
        next=shown[-1].id if len(found) > _PAGE else None,
        most=audit.PAGE_MAX,
        is_first="before" not in request.args,
    )


@blueprint.get("/audit.csv")
def export() -> Response:
    """Return all selected entries as CSV."""
    found = audit.read_all(services().connection, auth.current_account_id(), **_chosen())
    names = ["at_utc", "actor", "action", "subject", "before", "after"]
    return as_csv("audit", names, ([entry.at, *_texts(entry)] for entry in found))


@blueprint.get("/audit.json")
def read() -> Response:
    """Return a page of entries as JSON."""
    with services().connection() as connection:
        found = audit.find_entries(
            connection, auth.current_account_id(), after=_before(), limit=audit.PAGE_MAX, **_chosen()
        )
    return exact_json({"entries": [document(entry) for entry in found], "next": next_of(found, audit.PAGE_MAX)})


def document(entry: Entry) -> dict[str, Any]:
    """Return an entry for JSON."""
    return vars(entry) | {"at": entry.at.isoformat()}


def next_of(found: list[Entry], limit: int) -> int | None:
    """Return the `before` parameter of the next page, or None on the last."""
    return found[-1].id if len(found) == limit else None


def _texts(entry: Entry) -> list[str]:
    changes = ("" if part is None else json.dumps(part) for part in (entry.before, entry.after))
    return [entry.actor, entry.action, entry.subject, *changes]


def _chosen() -> dict[str, Any]:
    chosen = {name: request.args.get(name) or None for name in ("action", "subject")}
    if any(len(text or "") > _TEXT_LENGTH_MAX for text in chosen.values()):
        raise Problem(
            422, "bad_filter", gettext("Filters can have at most %(most)s characters.", most=_TEXT_LENGTH_MAX)
        )
    return chosen


def _before() -> int | None:
    text = request.args.get("before")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and int(text[:20]) <= _ID_MAX):
        raise Problem(422, "bad_filter", gettext("before: use the `next` value of the previous page."))
    return int(text)
