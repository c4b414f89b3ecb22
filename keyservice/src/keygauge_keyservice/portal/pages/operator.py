"""The operator's pages: accounts, plans and all keys; create, move, suspend and annotate accounts, view as customer."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Literal, get_args

from flask import Blueprint, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from keygauge_keyservice.accounts import accounts, invitations, members, notes, plans, sessions
from keygauge_keyservice.accounts.account_terms import NewAccount
from keygauge_keyservice.accounts.notes import NewNote
from keygauge_keyservice.billing import billing
from keygauge_keyservice.errors import Problem, not_found
from keygauge_keyservice.journal import audit
from keygauge_keyservice.keys import directory, keys
from keygauge_keyservice.portal import auth, cookies, limit_text
from keygauge_keyservice.portal.tables import account_table
from keygauge_keyservice.reading import attempt
from keygauge_keyservice.texts import each, gettext, mark
from keygauge_keyservice.web.context import services

blueprint = Blueprint("operator", __name__, url_prefix="/operator")

_PAGE = 50
_NOTES = 10
_INVOICES = 12
_NOTICES = {
    "plan": mark("Plan changed."),
    "none": mark("Select one or more accounts first."),
    "status": mark("Status changed."),
    "note": mark("Note added."),
    "key": mark("Key status changed."),
    "paid": mark("Invoice saved."),
}


@blueprint.get("")
def show() -> str:
    """List the accounts that match a search."""
    return _page()


@blueprint.post("/search")
def search() -> Response:
    """Redirect to a search; if the text is a whole API key, its secret does not get into the URL."""
    page = "find_keys" if request.form.get("page") == "find_keys" else "show"
    query = account_table.query_text(request.form.get("q", ""))
    return redirect(url_for(f"portal.operator.{page}", q=query or None), 303)


@blueprint.post("/accounts/plan")
def change_plans() -> Response:
    """Change the plan of all selected accounts."""
    actor, chosen = auth.current_member().email, request.form.getlist("account")
    with services().connection() as connection:
        for account_id in chosen:
            accounts.change_plan(connection, account_id, request.form.get("plan", ""), actor=actor)
    table = account_table.read(request.args)
    return redirect(url_for("portal.operator.show", **table.address, notice="plan" if chosen else "none"), 303)


@blueprint.post("/accounts")
def create() -> Response | tuple[str, int]:
    """Create an account."""
    document = {"name": request.form.get("name", "").strip(), "plan": request.form.get("plan")}
    given, _ = attempt(NewAccount, document)
    if given is None:
        return _page(wrong=gettext("Enter a name of 1 to 100 printable characters and choose a plan.")), 422
    with services().connection() as connection:
        account = accounts.create(connection, name=given.name, plan_id=given.plan, actor=auth.current_member().email)
    return redirect(url_for("portal.operator.read", account_id=account.id), 303)


@blueprint.get("/accounts/<account_id>")
def read(account_id: str) -> str:
    """Show an account: plan, members, keys, invoices and notes."""
    with services().connection() as connection:
        account = accounts.require(connection, account_id)
        return render_template(
            "portal/operator_account.html",
            account=account,
            plans=plans.list_plans(connection),
            members=members.list_members(connection, account_id),
            keys=keys.list_keys(connection, account_id, limit=_PAGE),
            invoices=billing.list_invoices(connection, account_id, limit=_INVOICES),
            today=datetime.now(UTC).date(),
            notes=audit.find_entries(connection, account_id, action="note", limit=_NOTES),
            page=_PAGE,
            notice=each(_NOTICES).get(request.args.get("notice", "")),
            roles=each(members.ROLE_NAMES),
            note_length_max=notes.LENGTH_MAX,
        )


@blueprint.post("/accounts/<account_id>/plan")
def change_plan(account_id: str) -> Response:
    """Change an account's plan."""
    with services().connection() as connection:
        accounts.change_plan(connection, account_id, request.form.get("plan", ""), actor=auth.current_member().email)
    return _back(account_id, "plan")


@blueprint.get("/accounts/<account_id>/suspend")
def confirm_suspend(account_id: str) -> str:
    """Ask for confirmation before suspending an account."""
    with services().connection() as connection:
        account = accounts.require(connection, account_id)
    return render_template("portal/operator_suspend.html", account=account)


@blueprint.post("/accounts/<account_id>/status")
def set_status(account_id: str) -> Response:
    """Suspend or reactivate an account."""
    status = request.form.get("status", "")
    if status not in get_args(accounts.Status):
        raise Problem(422, "bad_status", gettext("Choose active or suspended."))
    with services().connection() as connection:
        accounts.set_status(connection, account_id, status, actor=auth.current_member().email)  # type: ignore[arg-type]  # one of them
    return _back(account_id, "status")


@blueprint.post("/accounts/<account_id>/notes")
def add_note(account_id: str) -> Response:
    """Add a support note to the account's audit log."""
    note, _ = attempt(NewNote, {"text": request.form.get("text", "")})
    if note is None:
        raise Problem(422, "bad_note", gettext("Enter 1 to %(most)s characters.", most=notes.LENGTH_MAX))
    with services().connection() as connection:
        notes.add(connection, account_id, note, actor=auth.current_member().email)
    return _back(account_id, "note")


@blueprint.post("/accounts/<account_id>/members")
def invite(account_id: str) -> str:
    """Invite a person to an account, typically its first owner, and show the link, only in this response."""
    role, actor = request.form.get("role", ""), auth.current_member().email
    if role not in get_args(members.Role):
        raise Problem(422, "bad_role", gettext("Choose owner, member or viewer."))
    with services().connection() as connection:
        accounts.require(connection, account_id)
        invited, token = invitations.create(
            connection,
            account_id=account_id,
            email=request.form.get("email", ""),
            role=role,  # type: ignore[arg-type]  # one of them
            actor=actor,
            by_operator=True,
        )
    link = cookies.public_link("portal.invitation.show", token=token)
    return render_template("portal/member_invited.html", invited=invited, link=link)


@blueprint.post("/accounts/<account_id>/keys/<key_id>/status")
def set_key_status(account_id: str, key_id: str) -> Response:
    """Enable a key, or disable it so that its owners cannot enable it."""
    status: Literal["active", "disabled"] = "active" if request.form.get("status") == "active" else "disabled"
    with services().connection() as connection:
        if keys.require(connection, key_id).account_id != account_id:
            raise not_found("key", key_id)
        keys.set_status(connection, key_id, status, actor=auth.current_member().email, by_operator=True)
    return _back(account_id, "key")


@blueprint.post("/accounts/<account_id>/invoices")
def set_paid(account_id: str) -> Response:
    """Mark an invoice as paid or unpaid."""
    try:
        period = date.fromisoformat(request.form.get("period", ""))
    except ValueError as error:
        raise Problem(404, "invoice_not_found", gettext("There is no invoice for this month.")) from error
    with services().connection() as connection:
        is_paid = request.form.get("paid") == "1"
        billing.set_paid(connection, account_id, period, is_paid=is_paid, actor=auth.current_member().email)
    return _back(account_id, "paid")


@blueprint.post("/accounts/<account_id>/view")
def view_account(account_id: str) -> Response:
    """View an account as the customer; this is recorded in its audit log."""
    with services().connection() as connection:
        accounts.require(connection, account_id)
        sessions.view_account(connection, auth.current_session(), account_id)
        actor = auth.current_member().email
        audit.append(connection, account_id=account_id, actor=actor, action="account.view", subject=account_id)
    return redirect(url_for("portal.overview.show"), 303)


@blueprint.post("/leave")
def leave() -> Response:
    """Stop viewing an account."""
    with services().connection() as connection:
        sessions.view_account(connection, auth.current_session(), None)
    return redirect(url_for("portal.operator.show"), 303)


@blueprint.get("/keys")
def find_keys() -> str:
    """Find keys of all accounts by name, id or program."""
    with services().connection() as connection:
        found = directory.find_keys(connection, query_text(), limit=_PAGE)
    return render_template(
        "portal/operator_keys.html", found=found, query=query_text(), page=_PAGE, now=datetime.now(UTC)
    )


@blueprint.get("/plans")
def list_plans() -> str:
    """List the plans with their limits."""
    with services().connection() as connection:
        counts = directory.count_accounts(connection)
        found = plans.list_plans(connection)
    return render_template("portal/operator_plans.html", plans=found, counts=counts, describe=limit_text.describe)


def _page(*, wrong: str | None = None) -> str:
    table = account_table.read(request.args)
    with services().connection() as connection:
        found = directory.find_accounts(
            connection,
            table.query,
            limit=account_table.PAGE + 1,
            offset=(table.page - 1) * account_table.PAGE,
            **table.selection,
        )
        listed = plans.list_plans(connection)
    return render_template(
        "portal/operator.html",
        found=found[: account_table.PAGE],
        has_more=len(found) > account_table.PAGE,
        table=table,
        plans=listed,
        plan_names={plan.id: plan.name for plan in listed},
        query=table.address,
        notice=each(_NOTICES).get(request.args.get("notice", "")),
        is_nothing=request.args.get("notice") == "none",
        wrong=wrong,
    )


def query_text() -> str:
    """Return the search text."""
    return account_table.query_text(request.args.get("q", ""))


def _back(account_id: str, notice: str) -> Response:
    return redirect(url_for("portal.operator.read", account_id=account_id, notice=notice), 303)
