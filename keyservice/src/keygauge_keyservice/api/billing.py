"""Billing over HTTP: the current period, the next invoice, closed periods as JSON or CSV, and what plans cost."""

from __future__ import annotations

from datetime import date
from typing import Any

from flask import Blueprint, Response, request

from keygauge_keyservice.accounts import accounts
from keygauge_keyservice.api.schema import (
    INTEGER,
    PAGE,
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
from keygauge_keyservice.billing import billing, invoice_export
from keygauge_keyservice.billing.billing import PRICE_MAX
from keygauge_keyservice.errors import FieldError, invalid
from keygauge_keyservice.fields import Fields
from keygauge_keyservice.ledger.event import TEXT_LENGTH_MAX
from keygauge_keyservice.web import fields as given_fields
from keygauge_keyservice.web.bearer_auth import actor, operator_only
from keygauge_keyservice.web.context import services
from keygauge_keyservice.web.export import as_csv
from keygauge_keyservice.web.idempotency import idempotent

blueprint = Blueprint("api_billing", __name__, url_prefix="/v1")


@blueprint.get("/billing")
@operator_only
def read() -> dict[str, Any] | Response:
    """Answer with an account's period and a page of invoices; without an account, of everyone's; CSV has them all."""
    after_text, limit = given_fields.page()
    after = _after(after_text)
    given = Fields({name: value for name, value in request.args.items() if name not in {"after", "limit"}})
    account_id = given.text("account", length_max=TEXT_LENGTH_MAX)
    form = given.choice("format", ("json", "csv"), default="json")
    given.check()
    with services().connection() as connection:
        if account_id is not None:
            accounts.require(connection, account_id)
        if form == "csv":
            return as_csv("invoices", *invoice_export.table(billing.list_invoices(connection, account_id)))
        invoices = billing.list_invoices(connection, account_id, after=after, limit=limit)
        current = billing.find_statement(connection, account_id) if account_id else None
    return {
        "current": invoice_export.document(current) if current else None,
        "invoices": [invoice_export.document(invoice) for invoice in invoices],
        "next": f"{invoices[-1].period}_{invoices[-1].account_id}" if len(invoices) == limit else None,
    }


def _after(text: str | None) -> tuple[date, str] | None:
    if text is None:
        return None
    period, _, account_id = text.partition("_")
    try:
        return date.fromisoformat(period), account_id
    except ValueError as error:
        raise invalid(FieldError("after", "wrong_cursor", "give the 'next' of the page before")) from error


@blueprint.post("/billing/close")
@operator_only
@idempotent
def close() -> dict[str, Any]:
    """Close the periods that are over."""
    with services().connection() as connection:
        return {"closed": len(billing.close_periods(connection))}


@blueprint.get("/plans/<plan_id>/price")
@operator_only
def read_price(plan_id: str) -> dict[str, Any]:
    """Tell what a plan costs a month."""
    with services().connection() as connection:
        return {"monthly_nanousd": billing.find_plan_price(connection, plan_id)}


@blueprint.put("/plans/<plan_id>/price")
@operator_only
@idempotent
def set_price(plan_id: str) -> dict[str, Any]:
    """Set what a plan costs a month."""
    given = given_fields.body()
    price = given.integer("monthly_nanousd", least=0, most=PRICE_MAX, nullable=True)
    if "monthly_nanousd" not in given:  # an empty body must not take a price away
        given.fail("monthly_nanousd", "missing", "is required; null if the plan has no price")
    given.check()
    with services().connection() as connection:
        billing.set_plan_price(connection, plan_id, price, actor=actor())
    return {"monthly_nanousd": price}


_MONTHLY = obj({"monthly_nanousd": nullable({**INTEGER, "minimum": 0, "maximum": PRICE_MAX})})

SCHEMAS = {
    "Invoice": obj(
        {
            "account_id": TEXT,
            "period": {**TEXT, "format": "date"},
            "plan_id": TEXT,
            **dict.fromkeys(("plan_nanousd", "usage_nanousd", "requests", "input_tokens", "output_tokens"), INTEGER),
            "closed_at": TIME,
            "total_nanousd": INTEGER,
        }
    ),
    "Statement": obj(
        {
            **dict.fromkeys(("start", "end", "next_invoice_at"), TIME),
            "plan_id": TEXT,
            **dict.fromkeys(
                ("plan_nanousd", "usage_nanousd", "next_invoice_nanousd", "expected_nanousd"),
                INTEGER,
            ),
        }
    ),
}

PATHS = {
    "/v1/billing": {
        "get": operation(
            "readBilling",
            "The current period with the next invoice's date and amount, and the closed periods",
            parameters=[
                query("account", TEXT, "this account; without it, everyone's closed periods"),
                query("format", enum("json", "csv"), "json where it is absent; CSV has all closed periods"),
                *PAGE,
            ],
            answer=obj(
                {"current": nullable(ref("Statement")), "invoices": array(ref("Invoice")), "next": nullable(TEXT)}
            ),
            problems=(404, 422),
        )
    },
    "/v1/billing/close": {
        "post": operation("closePeriods", "Close the periods that are over, each once", answer=obj({"closed": INTEGER}))
    },
    "/v1/plans/{plan_id}/price": {
        "get": operation(
            "readPlanPrice",
            "What a plan costs a month",
            parameters=[path("plan_id")],
            answer=_MONTHLY,
            problems=(404,),
        ),
        "put": operation(
            "setPlanPrice",
            "Set what a plan costs a month, for the periods closed from now on",
            parameters=[path("plan_id")],
            body=_MONTHLY,
            answer=_MONTHLY,
            problems=(404, 422),
        ),
    },
}
