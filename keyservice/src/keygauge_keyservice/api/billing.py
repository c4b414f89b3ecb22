"""HTTP API for billing: the current period, the next invoice, closed periods as JSON or CSV, and plan prices."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Literal

from flask import Blueprint, Response
from msgspec import Meta, Struct

from keygauge_keyservice.accounts import accounts
from keygauge_keyservice.api.document.schema import Operation
from keygauge_keyservice.api.page import Page
from keygauge_keyservice.billing import billing, invoice_export
from keygauge_keyservice.billing.billing import PRICE_MAX, Line, Sort, Statement
from keygauge_keyservice.errors import FieldError, Problem, invalid
from keygauge_keyservice.texts import gettext
from keygauge_keyservice.values.field_types import Text
from keygauge_keyservice.web.bearer_auth import actor, operator_only, own_account, owners_too
from keygauge_keyservice.web.context import services
from keygauge_keyservice.web.export import as_csv
from keygauge_keyservice.web.idempotency import idempotent
from keygauge_keyservice.web.message import answer, body, query

blueprint = Blueprint("api_billing", __name__, url_prefix="/v1")


class BillingQuery(Page):
    """A query for invoices."""

    account: (
        Annotated[Text, Meta(description="this account; without it, the closed periods of all accounts")] | None
    ) = None
    status: (
        Annotated[billing.Payment, Meta(description="only invoices that are paid, or that have an amount due")] | None
    ) = None
    sort: Annotated[Sort, Meta(description="sort order; prefix with - for descending")] = "-period"
    format: Annotated[Literal["json", "csv"], Meta(description="CSV has all closed periods")] = "json"


class Invoice(Struct):
    """A closed period; `period` is the first day of its month."""

    account_id: str
    period: date
    plan_id: str
    plan_nanousd: int
    usage_nanousd: int
    requests: int
    input_tokens: int
    output_tokens: int
    closed_at: datetime
    paid_at: datetime | None
    due_on: date
    late_nanousd: int
    lines: list[Line]
    total_nanousd: int


class Billing(Struct):
    """An account's current period, the one that has ended without an invoice yet, and the closed ones."""

    current: Statement | None
    ended: Statement | None
    invoices: list[Invoice]
    next: str | None


class Payment(Struct):
    """Whether an invoice is paid."""

    paid: bool


class Closed(Struct):
    """How many periods were closed."""

    closed: int


class PlanPrice(Struct):
    """A plan's monthly price; null if it has none."""

    monthly_nanousd: Annotated[int, Meta(ge=0, le=PRICE_MAX)] | None


@blueprint.get("/billing")
@owners_too
def read() -> Response:
    """Return an account's open periods and a page of its or all accounts' invoices; CSV has all of them."""
    given = query(BillingQuery)
    after, account_id = _after(given.after), own_account(given.account)
    with services().connection() as connection:
        if account_id is not None:
            accounts.require(connection, account_id)
        is_csv = given.format == "csv"
        invoices = billing.list_invoices(
            connection,
            account_id,
            payment=given.status,
            sort=given.sort,
            after=None if is_csv else after,
            limit=None if is_csv else given.limit,
        )
        if is_csv:
            return as_csv("invoices", *invoice_export.table(invoices))
        current = billing.find_statement(connection, account_id) if account_id else None
        ended = billing.find_ended(connection, account_id) if account_id else None
    last = f"{invoices[-1].period}_{invoices[-1].account_id}" if len(invoices) == given.limit else None
    return answer(Billing, {"current": current, "ended": ended, "invoices": invoices, "next": last})


def _after(text: str | None) -> tuple[date, str] | None:
    if text is None:
        return None
    period, _, account_id = text.partition("_")
    try:
        return date.fromisoformat(period), account_id
    except ValueError as error:
        raise invalid(FieldError("after", "wrong_cursor", "must be the `next` value of the previous page")) from error


@blueprint.post("/billing/close")
@operator_only
@idempotent
def close() -> Response:
    """Close past periods."""
    with services().connection() as connection:
        return answer(Closed, {"closed": len(billing.close_periods(connection))})


@blueprint.patch("/accounts/<account_id>/invoices/<period>")
@operator_only
@idempotent
def set_paid(account_id: str, period: str) -> Response:
    """Mark an invoice as paid or unpaid."""
    given = body(Payment)
    try:
        month = date.fromisoformat(period)
    except ValueError as error:
        raise Problem(404, "invoice_not_found", gettext("There is no invoice for this month.")) from error
    with services().connection() as connection:
        changed = billing.set_paid(connection, account_id, month, is_paid=given.paid, actor=actor())
    return answer(Invoice, changed)


@blueprint.get("/plans/<plan_id>/price")
@owners_too
def read_price(plan_id: str) -> Response:
    """Read a plan's monthly price."""
    with services().connection() as connection:
        return answer(PlanPrice, {"monthly_nanousd": billing.find_plan_price(connection, plan_id)})


@blueprint.put("/plans/<plan_id>/price")
@operator_only
@idempotent
def set_price(plan_id: str) -> Response:
    """Set a plan's monthly price."""
    given = body(PlanPrice)
    with services().connection() as connection:
        billing.set_plan_price(connection, plan_id, given.monthly_nanousd, actor=actor())
    return answer(PlanPrice, given)


PATHS = {
    "/v1/billing": {
        "get": Operation(
            "readBilling",
            "Read the current period with the next invoice's date and amount, the one that has ended and waits for its "
            "invoice, and the closed periods",
            query=BillingQuery,
            answer=Billing,
            problems=(404, 422),
            security="account",
        )
    },
    "/v1/accounts/{account_id}/invoices/{period}": {
        "patch": Operation(
            "setInvoicePaid", "Mark an invoice as paid or unpaid", body=Payment, answer=Invoice, problems=(404,)
        )
    },
    "/v1/billing/close": {"post": Operation("closePeriods", "Close all past periods, each once", answer=Closed)},
    "/v1/plans/{plan_id}/price": {
        "get": Operation(
            "readPlanPrice", "Read a plan's monthly price", answer=PlanPrice, problems=(404,), security="account"
        ),
        "put": Operation(
            "setPlanPrice",
            "Set a plan's monthly price; past months keep theirs",
            body=PlanPrice,
            answer=PlanPrice,
            problems=(404,),
        ),
    },
}
