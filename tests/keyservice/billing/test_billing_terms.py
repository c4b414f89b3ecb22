"""Billing by the plans and prices in force each day, and of usage that arrives after an invoice."""

from datetime import UTC, date, datetime, timedelta
from fractions import Fraction

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

BORN = datetime(2026, 3, 10, 15, tzinfo=UTC)  # when the account was created
JUNE = datetime(2026, 6, 1, tzinfo=UTC)
DOLLAR = 10**9


def fees(invoice):
    return [line for line in invoice.lines if line.kind == "plan"]


def test_changes_after_a_month_do_not_affect_its_invoice(books):
    books.change(BORN, "plan", "ledger", monthly_nanousd=20 * DOLLAR)
    books.change(BORN, "plan", "pro", monthly_nanousd=90 * DOLLAR)
    books.forget()
    books.change(JUNE, "plan", "ledger", monthly_nanousd=30 * DOLLAR)
    books.change(JUNE + timedelta(hours=3), "account", "acme", plan_id="pro")
    books.change(JUNE + timedelta(hours=4), "plan", "pro", prorated=True)
    may = books.close(JUNE + timedelta(days=2))[date(2026, 5, 1)]
    assert (may.plan_id, may.plan_nanousd) == ("ledger", 20 * DOLLAR)
    june = books.close(JUNE + timedelta(days=32))[date(2026, 6, 1)]
    assert (june.plan_id, june.plan_nanousd) == ("pro", 90 * DOLLAR)
    assert [(line.plan_id, line.days) for line in june.lines if line.kind == "plan"] == [("pro", 30)]


def test_the_plan_at_month_end_is_billed_in_full_or_by_the_day_if_prorated(books):
    books.change(BORN, "plan", "ledger", monthly_nanousd=10 * DOLLAR)
    books.change(BORN, "plan", "pro", monthly_nanousd=100)
    books.forget()
    books.change(JUNE - timedelta(days=10, hours=-1), "account", "acme", plan_id="pro")  # 22 May, 01:00
    may = books.close(JUNE + timedelta(days=2))[date(2026, 5, 1)]
    assert [(line.plan_id, line.days, line.nanousd) for line in may.lines if line.kind == "plan"] == [
        ("pro", None, 100)
    ]
    books.connection.execute("DELETE FROM invoice")
    books.connection.execute("UPDATE plan SET prorated = true")
    books.connection.execute("DELETE FROM plan_price_before")
    found = books.close(JUNE + timedelta(days=2))
    assert [(line.plan_id, line.days, line.nanousd) for line in fees(found[date(2026, 5, 1)])] == [
        ("ledger", 21, 10 * DOLLAR * 21 // 31),
        ("pro", 10, (10 * DOLLAR * 21 + 100 * 10) // 31 - 10 * DOLLAR * 21 // 31),
    ]
    assert [(line.plan_id, line.days) for line in fees(found[date(2026, 3, 1)])] == [("ledger", 22)]  # from the 10th


_steps = st.lists(
    st.tuples(
        st.sampled_from(["price", "plan", "prorated", "call", "late call", "close"]),
        st.integers(min_value=1, max_value=40),  # days until the step
        st.integers(min_value=0, max_value=10**12),
    ),
    min_size=1,
    max_size=12,
)


@given(_steps)
@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_invoices_add_up_to_all_usage_and_fees(make_books, steps):
    books, now, spent = make_books(), BORN, 0
    plan, price, prorated = {BORN: "ledger"}, {BORN: ("ledger", 0), BORN + timedelta(0, 1): ("pro", 0)}, {BORN: False}
    for kind, days, number in steps:
        now += timedelta(days=days, hours=7)
        if kind == "price":
            name = ("ledger", "pro")[number % 2]
            books.change(now, "plan", name, monthly_nanousd=number)
            price[now] = (name, number)
        elif kind == "plan":
            plan[now] = ("ledger", "pro")[number % 2]
            books.change(now, "account", "acme", plan_id=plan[now])
        elif kind == "prorated":
            prorated[now] = bool(number % 2)
            for name in ("ledger", "pro"):
                books.change(now, "plan", name, prorated=prorated[now])
        elif kind == "close":
            books.close(now)
        else:
            books.call(max(BORN, now - timedelta(days=days)) if kind == "late call" else now, number)
            spent += number
    for months in (40, 80):  # late usage is on the following invoice
        books.close(now + timedelta(days=months))
    invoices = books.invoices()
    fees = sum(_fee(one.period, plan, price, prorated) for one in invoices)
    assert sum(one.total_nanousd for one in invoices) == spent + fees
    assert all(sum(line.nanousd for line in one.lines) == one.total_nanousd for one in invoices)


def _fee(period, plan, price, prorated):
    """Return a month's fee, computed day by day and rounded once at the end."""
    start = datetime(period.year, period.month, 1, tzinfo=UTC)
    end = (start + timedelta(days=32)).replace(day=1)

    def at(moment):
        name = [value for since, value in plan.items() if since < moment or since == BORN][-1]
        return [
            amount
            for since, (plan_of, amount) in price.items()
            if plan_of == name and (since < moment or since <= BORN)
        ][-1:]

    if not [value for since, value in prorated.items() if since < end or since == BORN][-1]:
        return sum(at(end))
    days = (end - start).days
    charged = [start + timedelta(days=day + 1) for day in range(days) if start + timedelta(days=day + 1) > BORN]
    return int(sum((Fraction(sum(at(day)), days) for day in charged), Fraction(0)))
