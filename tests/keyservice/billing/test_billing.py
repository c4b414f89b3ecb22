from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta

import pytest

from keygauge_keyservice import database
from keygauge_keyservice.billing import billing
from keygauge_keyservice.ledger import backfill
from keygauge_keyservice.pricing.cost import Cost

JUNE_2 = datetime(2026, 6, 2, tzinfo=UTC)


@pytest.mark.usefixtures("used_months")
def test_months_are_closed_once_a_day_after_their_end(connection):
    assert [one.period for one in billing.close_periods(connection, now=JUNE_2 - timedelta(seconds=1))] == [
        date(2026, 4, 1)
    ] * 2
    closed = billing.close_periods(connection, now=JUNE_2)
    assert [(one.account_id, one.period, one.requests, one.usage_nanousd) for one in sorted(closed, key=str)] == [
        ("acme", date(2026, 5, 1), 3, 4_500),
        ("beta", date(2026, 5, 1), 0, 0),
    ]
    assert closed[0].total_nanousd == 20 * 10**9 + closed[0].usage_nanousd
    assert billing.close_periods(connection, now=JUNE_2 + timedelta(days=20)) == []
    assert [one.period.month for one in billing.list_invoices(connection, "acme")] == [5, 4]


@pytest.mark.usefixtures("used_months")
def test_closing_concurrently_creates_each_invoice_once(database_url, connection):
    def close(_):
        with database.connect(database_url) as other:
            return len(billing.close_periods(other, now=JUNE_2))

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(close, range(4))) == len(billing.list_invoices(connection)) == 4


@pytest.mark.usefixtures("used_months")
def test_a_closed_invoice_never_changes(connection, make_event):
    billing.close_periods(connection, now=JUNE_2)
    before = billing.list_invoices(connection)
    backfill.write_history(connection, [make_event(5)], lambda _: Cost(9, "test"), spool="late")
    billing.set_plan_price(connection, "ledger", 1, actor="test")
    billing.close_periods(connection, now=JUNE_2)
    assert billing.list_invoices(connection) == before


@pytest.mark.usefixtures("used_months")
def test_the_statement_shows_the_next_invoice(connection, noon):
    found = billing.find_statement(connection, "acme", now=noon)
    assert (found.start, found.next_invoice_at) == (datetime(2026, 5, 1, tzinfo=UTC), JUNE_2)
    assert (found.usage_nanousd, found.next_invoice_nanousd) == (4_500, 20_000_004_500)


@pytest.mark.usefixtures("used_months")
def test_ended_month_is_shown_until_it_has_its_invoice(connection):
    first = datetime(2026, 6, 1, 0, 30, tzinfo=UTC)
    assert billing.find_ended(connection, "acme", now=first - timedelta(hours=1)) is None
    ended = billing.find_ended(connection, "acme", now=first)
    assert (ended.start.month, ended.usage_nanousd, ended.next_invoice_at) == (
        5,
        4_500,
        datetime(2026, 6, 2, tzinfo=UTC),
    )
    assert ended.expected_nanousd == ended.next_invoice_nanousd  # nothing is left to forecast
    late = first + timedelta(hours=24)  # due, and the job has not run yet
    assert billing.find_ended(connection, "acme", now=late) == ended
    billing.close_periods(connection, now=late)
    assert billing.list_invoices(connection, "acme")[0].total_nanousd == ended.next_invoice_nanousd
    assert billing.find_ended(connection, "acme", now=late) is None
    connection.execute("UPDATE account SET created_at = %s", (first,))
    assert billing.find_ended(connection, "beta", now=first) is None
