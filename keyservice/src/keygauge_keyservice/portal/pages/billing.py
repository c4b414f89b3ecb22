"""The billing page: the plan, the current period, the next invoice, past invoices and plan changes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from flask import Blueprint, Response, render_template, request

from keygauge.pricing.rates import Rates
from keygauge_keyservice.accounts import accounts, plan_choice, plans
from keygauge_keyservice.billing import billing, focus, forecast, invoice_export
from keygauge_keyservice.billing.billing import Invoice, Statement
from keygauge_keyservice.database import Connection
from keygauge_keyservice.errors import Problem
from keygauge_keyservice.journal import audit
from keygauge_keyservice.portal import auth, formatting, limit_text, price_text
from keygauge_keyservice.texts import gettext
from keygauge_keyservice.usage import kind_titles, usage
from keygauge_keyservice.web.context import services
from keygauge_keyservice.web.exact_json import exact_json
from keygauge_keyservice.web.export import as_csv

blueprint = Blueprint("billing", __name__, url_prefix="/billing")

_CHANGES = 20


@blueprint.get("")
def show() -> str:
    """Show the account's billing."""
    account_id = auth.current_account_id()
    with services().connection() as connection:
        account = accounts.require(connection, account_id)
        statement = billing.find_statement(connection, account_id)
        return render_template(
            "portal/billing.html",
            prices=_prices(connection, account_id, statement),
            other_rates=price_text.other_rates,
            plan=plans.require(connection, account.plan_id),
            plan_names={plan.id: plan.name for plan in plans.list_plans(connection)},
            monthly_nanousd=billing.find_plan_price(connection, account.plan_id),
            offered=plan_choice.offered(connection, account),
            notice=gettext("Plan changed.") if request.args.get("notice") == "plan" else None,
            describe=limit_text.describe,
            statement=statement,
            invoices=billing.list_invoices(connection, account_id),
            ended=billing.find_ended(connection, account_id),
            changes=audit.find_entries(connection, account_id, action="plan.change", limit=_CHANGES),
            today=datetime.now(UTC).date(),
            day=timedelta(days=1),
        )


@blueprint.get("/invoices.csv")
def export() -> Response:
    """Return all closed invoices as CSV."""
    with services().connection() as connection:
        return as_csv("invoices", *invoice_export.table(billing.list_invoices(connection, auth.current_account_id())))


@blueprint.get("/invoices.json")
def read() -> Response:
    """Return the current period and all closed invoices as JSON."""
    account_id = auth.current_account_id()
    with services().connection() as connection:
        current = invoice_export.document(billing.find_statement(connection, account_id))
        invoices = [invoice_export.document(one) for one in billing.list_invoices(connection, account_id)]
    return exact_json({"current": current, "invoices": invoices})


@blueprint.get("/invoices/<month>.csv")
def export_one(month: str) -> Response:
    """Return an invoice's lines as CSV."""
    with services().connection() as connection:
        return as_csv(f"invoice-{month}", *invoice_export.lines(_require(connection, month)))


@blueprint.get("/invoices/<month>.json")
def read_one(month: str) -> Response:
    """Return an invoice as JSON."""
    with services().connection() as connection:
        return exact_json(invoice_export.document(_require(connection, month)))


@blueprint.get("/invoices/<month>")
def show_one(month: str) -> str:
    """Show an invoice with its line items, for screen and print."""
    with services().connection() as connection:
        invoice = _require(connection, month)
        start, end = forecast.month_of(datetime.combine(invoice.period, time(), UTC))
        names = {plan.id: plan.name for plan in plans.list_plans(connection)}
        return render_template(
            "portal/invoice.html",
            account=accounts.require(connection, invoice.account_id),
            invoice=invoice,
            today=datetime.now(UTC).date(),
            lines=list(zip(invoice.lines, formatting.cents_of([line.nanousd for line in invoice.lines]), strict=True)),
            plan_names=names,
            kind_title=kind_titles.title,
            month=month,
            start=start,
            last_day=end - timedelta(days=1),
            plan_name=names.get(invoice.plan_id, invoice.plan_id),
        )


@blueprint.get("/focus/<month>.csv")
def export_focus(month: str) -> Response:
    """Return a month's cost and usage in FOCUS columns."""
    period = _period(month)
    if period is None:
        raise Problem(404, "invoice_not_found", gettext("Enter the month as YYYY-MM."))
    with services().connection() as connection:
        account = accounts.require(connection, auth.current_account_id())
        start, end = forecast.month_of(datetime.combine(period, time(), UTC))
        closed = next((one for one in billing.list_invoices(connection, account.id) if one.period == period), None)
        plan = plans.require(connection, closed.plan_id if closed else account.plan_id)
        price = closed.plan_nanousd if closed else billing.find_plan_price(connection, plan.id) or 0
        rows = list(focus.find_rows(connection, account, start=start, end=end, plan_name=plan.name, plan_nanousd=price))
    return as_csv(f"focus-{month}", focus.COLUMNS, rows)


@dataclass(frozen=True)
class _Price:
    """A model's current price for the account; `rates` is None if the price is unknown."""

    model: str
    rates: Rates | None
    is_tiered: bool


def _prices(connection: Connection, account_id: str, statement: Statement) -> list[_Price]:
    """Return the current prices of the models used this month."""
    parts = usage.breakdown(connection, by="model", account_id=account_id, start=statement.start, end=statement.end)
    book, now_us = services().prices, int(datetime.now(UTC).timestamp() * 1_000_000)
    book.refresh(connection)
    found = {part.group: book.find_tiers(account_id, None, part.group, now_us) for part in parts if part.group}
    return [
        _Price(model, tiers[1][0] if tiers else None, bool(tiers) and len(tiers[1]) > 1)  # type: ignore[index]
        for model, tiers in sorted(found.items())
    ]


def _period(month: str) -> date | None:
    try:
        return date.fromisoformat(f"{month}-01")
    except ValueError:
        return None


def _require(connection: Connection, month: str) -> Invoice:
    """Return the account's invoice of a month, such as 2026-11."""
    period = _period(month)
    for invoice in billing.list_invoices(connection, auth.current_account_id()):
        if invoice.period == period:
            return invoice
    raise Problem(404, "invoice_not_found", gettext("There is no invoice for this month."))
