"""Billing by UTC month: the current period, the next invoice, and closed invoices.

An invoice consists of the fees for the plans that the account had in that month, at the prices of that month, plus the
cost of the calls in the ledger. A period is closed once, a day after its end so that spools can drain, and an invoice
never changes: the cost of calls that arrive later, and differences due to re-rating, become a line of the next one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from itertools import groupby
from typing import Any, Literal

import msgspec
from psycopg import sql

from keygauge_keyservice import reading
from keygauge_keyservice.accounts import accounts, plans
from keygauge_keyservice.billing import forecast, late_usage, model_usage, plan_fee
from keygauge_keyservice.billing.late_usage import LateUsage
from keygauge_keyservice.billing.model_usage import ByModel
from keygauge_keyservice.billing.plan_fee import Fee, Terms
from keygauge_keyservice.database import Connection
from keygauge_keyservice.errors import Problem
from keygauge_keyservice.journal import audit
from keygauge_keyservice.texts import gettext
from keygauge_keyservice.usage import usage

GRACE = timedelta(days=1)
TERMS = timedelta(days=14)
PRICE_MAX = 10**15  # nano-USD: a million dollars per month

_DUE = """/* billing.due */
SELECT account.id AS account_id, month.start::date AS period, month.stop, account.created_at
FROM account
CROSS JOIN LATERAL (
    SELECT start AT TIME ZONE 'UTC' AS start, (start + interval '1 month') AT TIME ZONE 'UTC' AS stop
    FROM generate_series(
        date_trunc('month', account.created_at AT TIME ZONE 'UTC'), %(now)s AT TIME ZONE 'UTC', interval '1 month'
    ) AS start
) AS month
WHERE month.stop + %(grace)s <= %(now)s
AND NOT EXISTS (SELECT FROM invoice WHERE account_id = account.id AND period = month.start::date)
ORDER BY period, account_id"""
_CLOSE = """/* billing.close */
INSERT INTO invoice (account_id, period, plan_id, plan_nanousd, usage_nanousd, late_nanousd, requests, input_tokens,
    output_tokens, lines, closed_at)
VALUES (%(account_id)s, %(period)s, %(plan_id)s, %(plan_nanousd)s, %(usage_nanousd)s, %(late_nanousd)s, %(requests)s,
    %(input_tokens)s, %(output_tokens)s, %(lines)s, %(closed_at)s)
ON CONFLICT DO NOTHING"""
Sort = Literal["period", "total", "-period", "-total"]
Payment = Literal["paid", "due"]

_SORTS = {"period": "period", "total": "plan_nanousd + usage_nanousd + late_nanousd"}
_LIST = """/* billing.list */ SELECT * FROM invoice WHERE {own}
AND (%(payment)s::text IS NULL OR CASE WHEN paid_at IS NOT NULL THEN 'paid' WHEN {total} > 0 THEN 'due' END
    = %(payment)s)
AND (%(period)s::date IS NULL OR ({expression}, period, account_id) {beyond} (
    SELECT {expression}, period, account_id FROM invoice
    WHERE period = %(period)s AND account_id = %(last_id)s AND {own}))
ORDER BY {expression} {direction}, period {direction}, account_id {direction} LIMIT %(limit)s"""
_OWN = "(%(id)s::text IS NULL OR account_id = %(id)s)"

_LOCK = 0x6B67_0006  # closing is serialized, because each invoice includes the late usage of earlier periods


@dataclass(frozen=True, kw_only=True)
class Line:
    """An invoice line: a plan fee, a model's usage of one kind, or usage of an earlier month."""

    kind: Literal["plan", "usage", "late_usage"]
    nanousd: int
    plan_id: str | None = None
    days: int | None = None  # days billed, if the plan is prorated
    period: date | None = None  # the month of late usage
    model: str | None = None  # the model used; '' if none
    usage_kind: str | None = None  # input, output, cache_read …: see `keygauge.kinds.CHARGED`
    quantity: int | None = None  # tokens, pieces or requests


@dataclass(frozen=True, kw_only=True)
class Invoice:
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
    late_nanousd: int = 0
    lines: list[Line] = field(default_factory=list)
    paid_at: datetime | None = None

    @property
    def due_on(self) -> date:
        """The due date in UTC."""
        return (self.closed_at + TERMS).date()

    @property
    def total_nanousd(self) -> int:
        """The amount due."""
        return self.plan_nanousd + self.usage_nanousd + self.late_nanousd


@dataclass(frozen=True, kw_only=True)
class Statement:
    """An account's current period."""

    start: datetime
    end: datetime
    plan_id: str
    plan_nanousd: int
    usage_nanousd: int  # so far
    late_nanousd: int  # usage of earlier months added since their invoices were closed
    next_invoice_at: datetime  # when the period will be closed
    next_invoice_nanousd: int  # with the usage so far
    expected_nanousd: int  # with the forecast usage


def find_statement(connection: Connection, account_id: str, *, now: datetime | None = None) -> Statement:
    """Return an existing account's current period."""
    now = now or datetime.now(UTC)
    found = forecast.find_forecast(connection, account_id, now=now)
    account = accounts.require(connection, account_id)
    terms = plan_fee.load(connection, [account_id])
    fees = terms.fees(account_id, start=found.start, end=found.end, since=account.created_at)
    late = late_usage.find(connection, [account_id], before=found.start).get(account_id, ())
    beside = sum(fee.nanousd for fee in fees) + sum(part.nanousd for part in late)
    used = usage.cost(connection, account_id=account_id, start=found.start, end=found.end)
    return Statement(
        start=found.start,
        end=found.end,
        plan_id=account.plan_id,
        plan_nanousd=sum(fee.nanousd for fee in fees),
        usage_nanousd=used,
        late_nanousd=sum(part.nanousd for part in late),
        next_invoice_at=found.end + GRACE,
        next_invoice_nanousd=beside + used,
        expected_nanousd=beside + found.expected_nanousd,
    )


def find_ended(connection: Connection, account_id: str, *, now: datetime | None = None) -> Statement | None:
    """Return the month that has ended but does not have its invoice yet, or None; invoices are issued a day later."""
    now = (now or datetime.now(UTC)).astimezone(UTC)
    inside = now - 2 * GRACE  # twice, as a job closes months some time after they are due
    if inside.month == now.month:
        return None
    ended = find_statement(connection, account_id, now=inside)
    is_new = accounts.require(connection, account_id).created_at >= ended.end
    is_closed = any(invoice.period == ended.start.date() for invoice in list_invoices(connection, account_id, limit=1))
    return None if is_new or is_closed else replace(ended, expected_nanousd=ended.next_invoice_nanousd)


def close_periods(connection: Connection, *, now: datetime | None = None) -> list[Invoice]:
    """Close each account's past months that are not closed yet, and return the new invoices."""
    now = now or datetime.now(UTC)
    with connection.transaction():
        connection.execute("/* billing.lock */ SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        due = connection.execute(_DUE, {"now": now, "grace": GRACE}).fetchall()
        terms = plan_fee.load(connection, list({row["account_id"] for row in due}))
        return [
            invoice
            for _, rows in groupby(due, key=lambda row: row["period"])
            for invoice in _close_month(connection, list(rows), terms, now)
        ]


def _close_month(connection: Connection, due: Sequence[dict[str, Any]], terms: Terms, now: datetime) -> list[Invoice]:
    period, end = due[0]["period"], due[0]["stop"]
    start = datetime.combine(period, time(), UTC)
    account_ids = [row["account_id"] for row in due]
    used = model_usage.find(connection, account_ids, start, end)
    late = late_usage.find(connection, account_ids, before=start)
    invoices = []
    for row in due:
        account_id = row["account_id"]
        fees = terms.fees(account_id, start=start, end=end, since=row["created_at"])
        models, parts = used.get(account_id, {}), late.get(account_id, [])
        sums = models.values()
        invoices.append(
            Invoice(
                account_id=account_id,
                period=period,
                plan_id=terms.plan(account_id, end),
                plan_nanousd=sum(fee.nanousd for fee in fees),
                usage_nanousd=sum(one.cost_nanousd for one in sums),
                late_nanousd=sum(part.nanousd for part in parts),
                requests=sum(one.requests for one in sums),
                input_tokens=sum(one.input_tokens for one in sums),
                output_tokens=sum(one.output_tokens for one in sums),
                closed_at=now,
                lines=_lines(fees, models, parts),
            )
        )
    with connection.cursor() as cursor:
        cursor.executemany(_CLOSE, [vars(invoice) | {"lines": _json(invoice.lines)} for invoice in invoices])
    return invoices


def _lines(fees: Sequence[Fee], models: ByModel, late: Sequence[LateUsage]) -> list[Line]:
    return [
        *(Line(kind="plan", nanousd=fee.nanousd, plan_id=fee.plan_id, days=fee.days) for fee in fees),
        *(
            Line(kind="usage", nanousd=use.cost_nanousd, model=model, usage_kind=kind, quantity=use.count)
            for model, sums in models.items()
            for kind, use in sums.kinds.items()
        ),
        *(Line(kind="late_usage", nanousd=part.nanousd, period=part.period) for part in late),
    ]


def _json(lines: Sequence[Line]) -> str:
    return msgspec.json.encode(lines).decode()


def _invoice(row: dict[str, Any]) -> Invoice:
    return Invoice(**row | {"lines": reading.convert(row["lines"], list[Line])})


def list_invoices(
    connection: Connection,
    account_id: str | None = None,
    *,
    payment: Payment | None = None,
    sort: Sort = "-period",
    after: tuple[date, str] | None = None,
    limit: int | None = None,
) -> list[Invoice]:
    """Return a page of invoices of one account or all; `after` is the last (period, account) so far.

    With `payment` "due", only invoices that have an amount to pay.
    """
    name, (period, last_id) = sort.removeprefix("-"), after or (None, None)
    query = sql.SQL(_LIST).format(
        own=sql.SQL(_OWN),
        total=sql.SQL(_SORTS["total"]),
        expression=sql.SQL(_SORTS[name]),
        beyond=sql.SQL(">" if name == sort else "<"),
        direction=sql.SQL("ASC" if name == sort else "DESC"),
    )
    given = {"id": account_id, "payment": payment, "period": period, "last_id": last_id, "limit": limit}
    return [_invoice(row) for row in connection.execute(query, given, prepare=False)]


def set_paid(
    connection: Connection, account_id: str, period: date, *, is_paid: bool, actor: str, now: datetime | None = None
) -> Invoice:
    """Mark an invoice as paid or unpaid, and return it.

    Raises:
        Problem: 404 if there is no such invoice.
    """
    with connection.transaction():
        row = connection.execute(
            "/* billing.set_paid */ UPDATE invoice SET paid_at = CASE WHEN %s THEN coalesce(paid_at, %s) END "
            "WHERE account_id = %s AND period = %s RETURNING *",
            (is_paid, now or datetime.now(UTC), account_id, period),
        ).fetchone()
        if row is None:
            raise Problem(404, "invoice_not_found", gettext("There is no invoice for this month."))
        action = "invoice.pay" if is_paid else "invoice.unpay"
        audit.append(connection, account_id=account_id, actor=actor, action=action, subject=f"{period:%Y-%m}")
        return _invoice(row)


def find_plan_price(connection: Connection, plan_id: str) -> int | None:
    """Return a plan's monthly price; None if only usage is billed.

    Raises:
        Problem: 404 if there is no such plan.
    """
    plans.require(connection, plan_id)
    row = _one(connection, "/* billing.price */ SELECT monthly_nanousd FROM plan WHERE id = %s", plan_id)
    price: int | None = row["monthly_nanousd"]
    return price


def set_plan_price(connection: Connection, plan_id: str, monthly_nanousd: int | None, *, actor: str) -> None:
    """Set a plan's monthly price; past months keep the price they had.

    Raises:
        Problem: 404 if there is no such plan.
    """
    with connection.transaction():
        before = find_plan_price(connection, plan_id)
        connection.execute(
            "/* billing.set_price */ UPDATE plan SET monthly_nanousd = %s WHERE id = %s", (monthly_nanousd, plan_id)
        )
        audit.append(
            connection,
            account_id=None,
            actor=actor,
            action="plan.set_price",
            subject=plan_id,
            before={"monthly_nanousd": before},
            after={"monthly_nanousd": monthly_nanousd},
        )


def _one(connection: Connection, query: str, value: str) -> dict[str, Any]:
    return connection.execute(query.encode(), (value,)).fetchone() or {}
