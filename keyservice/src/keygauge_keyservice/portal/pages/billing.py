"""The billing page: the plan, the current period, the next invoice, and what was billed and changed before."""

from __future__ import annotations

from datetime import UTC, date, datetime

from flask import Blueprint, Response, jsonify, render_template

from keygauge_keyservice.accounts import accounts, plans
from keygauge_keyservice.billing import billing, invoice_export
from keygauge_keyservice.billing.billing import Invoice
from keygauge_keyservice.database import Connection
from keygauge_keyservice.errors import Problem
from keygauge_keyservice.journal import audit
from keygauge_keyservice.portal import auth
from keygauge_keyservice.portal.pages import overview
from keygauge_keyservice.web.context import services
from keygauge_keyservice.web.export import as_csv

blueprint = Blueprint("billing", __name__, url_prefix="/billing")

_CHANGES = 20


@blueprint.get("")
def show() -> str:
    """Show how the account is billed."""
    account_id = auth.current_account_id()
    with services().connection() as connection:
        account = accounts.require(connection, account_id)
        return render_template(
            "portal/billing.html",
            plan=plans.require(connection, account.plan_id),
            plan_names={plan.id: plan.name for plan in plans.list_plans(connection)},
            monthly_nanousd=billing.find_plan_price(connection, account.plan_id),
            describe=overview.describe,
            statement=billing.find_statement(connection, account_id),
            invoices=billing.list_invoices(connection, account_id),
            changes=audit.find_entries(connection, account_id, action="plan.change", limit=_CHANGES),
            today=datetime.now(UTC).date(),
        )


@blueprint.get("/invoices.csv")
def export() -> Response:
    """Answer with all closed invoices as CSV."""
    with services().connection() as connection:
        return as_csv("invoices", *invoice_export.table(billing.list_invoices(connection, auth.current_account_id())))


@blueprint.get("/invoices.json")
def read() -> Response:
    """Answer with the current period and all closed invoices as JSON."""
    account_id = auth.current_account_id()
    with services().connection() as connection:
        current = invoice_export.document(billing.find_statement(connection, account_id))
        invoices = [invoice_export.document(one) for one in billing.list_invoices(connection, account_id)]
    return jsonify({"current": current, "invoices": invoices})


@blueprint.get("/invoices/<month>.csv")
def export_one(month: str) -> Response:
    """Answer with one invoice as CSV."""
    with services().connection() as connection:
        return as_csv(f"invoice-{month}", *invoice_export.table([_require(connection, month)]))


@blueprint.get("/invoices/<month>.json")
def read_one(month: str) -> Response:
    """Answer with one invoice as JSON."""
    with services().connection() as connection:
        return jsonify(invoice_export.document(_require(connection, month)))


def _require(connection: Connection, month: str) -> Invoice:
    """Return the account's invoice of a month, such as 2026-11."""
    try:
        period = date.fromisoformat(f"{month}-01")
    except ValueError:
        period = None
    for invoice in billing.list_invoices(connection, auth.current_account_id()):
        if invoice.period == period:
            return invoice
    raise Problem(404, "invoice_not_found", "There is no invoice of that month.")
