"""Billing by UTC month: the current period, what the next invoice will be, and the closed ones.

An invoice is the monthly price of the plan that the account is on when the period is closed, whole, plus the cost of
the calls in the ledger. Plan changes are not pro-rated. A period is closed once, a day after its end, so that spools
can empty; calls that arrive later, and re-rating, change the ledger but no closed invoice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import groupby
from typing import Any

from keygauge_keyservice.accounts import plans
from keygauge_keyservice.billing import forecast
from keygauge_keyservice.database import Connection
from keygauge_keyservice.errors import Problem
from keygauge_keyservice.journal import audit
from keygauge_keyservice.usage import usage

GRACE = timedelta(days=1)
TERMS = timedelta(days=14)
PRICE_MAX = 10**15  # nano-USD: a million dollars a month

_DUE = """/* billing.due */
SELECT account.id AS account_id, month.start::date AS period, month.stop, plan.id AS plan_id,
    coalesce(plan.monthly_nanousd, 0) AS plan_nanousd
FROM account JOIN plan ON plan.id = account.plan_id
CROSS JOIN LATERAL (
    SELECT start AT TIME ZONE 'UTC' AS start, (start + interval '1 month') AT TIME ZONE 'UTC' AS stop
    FROM generate_series(
        date_trunc('month', account.created_at AT TIME ZONE 'UTC'), %(now)s AT TIME ZONE 'UTC', interval '1 month'
    ) AS start
) AS month
WHERE month.stop + %(grace)s <= %(now)s
AND NOT EXISTS (SELECT FROM invoice WHERE account_id = account.id AND period = month.start::date)
ORDER BY period, account_id"""
# A statement of its own: where the ledger is spread over machines, accounts are not.
_USED = """/* billing.used */
SELECT account_id, sum(cost_nanousd)::bigint AS cost, sum(requests)::bigint AS requests,
    sum(input_tokens)::bigint AS input, sum(output_tokens)::bigint AS output
FROM usage_aggregate
WHERE account_id = ANY(%(account_ids)s) AND length_s = 86400 AND breakdown = 'status' AND inside = ''
AND bucket >= %(first)s AND bucket < %(last)s GROUP BY account_id"""
_CLOSE = """/* billing.close */
INSERT INTO invoice (account_id, period, plan_id, plan_nanousd, usage_nanousd, requests, input_tokens, output_tokens,
    closed_at)
SELECT due.*, %s FROM unnest(%s::text[], %s::date[], %s::text[], %s::bigint[], %s::bigint[], %s::bigint[],
    %s::bigint[], %s::bigint[]) AS due
ON CONFLICT DO NOTHING
RETURNING *"""
_UNUSED = {"cost": 0, "requests": 0, "input": 0, "output": 0}


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
    paid_at: datetime | None = None

    @property
    def due_on(self) -> date:
        """By when it is to be paid, in UTC."""
        return (self.closed_at + TERMS).date()

    @property
    def total_nanousd(self) -> int:
        """What is to be paid."""
        return self.plan_nanousd + self.usage_nanousd


@dataclass(frozen=True, kw_only=True)
class Statement:
    """An account's current period."""

    start: datetime
    end: datetime
    plan_id: str
    plan_nanousd: int
    usage_nanousd: int  # so far
    next_invoice_at: datetime  # when the period will be closed
    next_invoice_nanousd: int  # if it were closed with today's usage
    expected_nanousd: int  # with the usage that is forecast


def find_statement(connection: Connection, account_id: str, *, now: datetime | None = None) -> Statement:
    """Tell how an existing account's current period stands."""
    now = now or datetime.now(UTC)
    found = forecast.find_forecast(connection, account_id, now=now)
    row = _one(
        connection,
        "/* billing.plan */ SELECT plan.id, coalesce(monthly_nanousd, 0) AS price "
        "FROM account JOIN plan ON plan.id = plan_id WHERE account.id = %s",
        account_id,
    )
    used = usage.totals(connection, account_id=account_id, start=found.start, end=found.end).cost_nanousd
    return Statement(
        start=found.start,
        end=found.end,
        plan_id=row["id"],
        plan_nanousd=row["price"],
        usage_nanousd=used,
        next_invoice_at=found.end + GRACE,
        next_invoice_nanousd=row["price"] + used,
        expected_nanousd=row["price"] + found.expected_nanousd,
    )


def close_periods(connection: Connection, *, now: datetime | None = None) -> list[Invoice]:
    """Close every account's months that are over, each once, and return the new invoices."""
    now = now or datetime.now(UTC)
    due = connection.execute(_DUE, {"now": now, "grace": GRACE}).fetchall()
    return [
        invoice
        for (first, last), rows in groupby(due, key=lambda row: (row["period"], row["stop"]))
        for invoice in _close_month(connection, list(rows), first, last, now)
    ]


def _close_month(
    connection: Connection, due: Sequence[dict[str, Any]], first: date, last: datetime, now: datetime
) -> list[Invoice]:
    month = {"first": datetime.combine(first, time(), UTC), "last": last}
    account_ids = [row["account_id"] for row in due]
    used = {row["account_id"]: row for row in connection.execute(_USED, {"account_ids": account_ids, **month})}
    columns = zip(
        *(
            (row["account_id"], row["period"], row["plan_id"], row["plan_nanousd"], *(sums[name] for name in _UNUSED))
            for row in due
            for sums in [used.get(row["account_id"], _UNUSED)]
        ),
        strict=True,
    )
    return [Invoice(**row) for row in connection.execute(_CLOSE, [now, *(list(column) for column in columns)])]


def list_invoices(
    connection: Connection,
    account_id: str | None = None,
    *,
    after: tuple[date, str] | None = None,
    limit: int | None = None,
) -> list[Invoice]:
    """List closed periods, the newest first, of one account or all: those after one (period, account), so many."""
    period, last_id = after or (None, None)
    rows = connection.execute(
        "/* billing.list */ SELECT * FROM invoice WHERE (%(id)s::text IS NULL OR account_id = %(id)s) "
        "AND (%(period)s::date IS NULL OR period < %(period)s OR (period = %(period)s AND account_id > %(last_id)s)) "
        "ORDER BY period DESC, account_id LIMIT %(limit)s",
        {"id": account_id, "period": period, "last_id": last_id, "limit": limit},
    )
    return [Invoice(**row) for row in rows]


def set_paid(
    connection: Connection, account_id: str, period: date, *, is_paid: bool, actor: str, now: datetime | None = None
) -> None:
    """Say that an invoice is paid, or is not after all.

    Raises:
        Problem: 404, there is no such invoice.
    """
    with connection.transaction():
        row = connection.execute(
            "/* billing.set_paid */ UPDATE invoice SET paid_at = CASE WHEN %s THEN coalesce(paid_at, %s) END "
            "WHERE account_id = %s AND period = %s RETURNING period",
            (is_paid, now or datetime.now(UTC), account_id, period),
        ).fetchone()
        if row is None:
            raise Problem(404, "invoice_not_found", "There is no invoice for this month.")
        action = "invoice.pay" if is_paid else "invoice.unpay"
        audit.append(connection, account_id=account_id, actor=actor, action=action, subject=f"{period:%Y-%m}")


def find_plan_price(connection: Connection, plan_id: str) -> int | None:
    """Return what a plan costs a month; None where nothing but usage is billed.

    Raises:
        Problem: 404, there is no such plan.
    """
    plans.require(connection, plan_id)
    row = _one(connection, "/* billing.price */ SELECT monthly_nanousd FROM plan WHERE id = %s", plan_id)
    price: int | None = row["monthly_nanousd"]
    return price


def set_plan_price(connection: Connection, plan_id: str, monthly_nanousd: int | None, *, actor: str) -> None:
    """Set what a plan costs a month; it holds for every period that is closed from now on.

    Raises:
        Problem: 404, there is no such plan.
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
