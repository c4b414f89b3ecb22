from datetime import UTC, date, datetime, timedelta

from keygauge_keyservice.billing import billing

BORN = datetime(2026, 3, 10, 15, tzinfo=UTC)  # the account
JUNE = datetime(2026, 6, 1, tzinfo=UTC)


def test_calls_before_the_month_of_the_accounts_creation_are_billed_once(books):
    books.call(BORN.replace(day=1) - timedelta(hours=16), 5)
    statement = billing.find_statement(books.connection, "acme", now=BORN + timedelta(days=5))
    assert statement.late_nanousd == 5
    invoices = books.close(BORN + timedelta(days=90))
    assert [invoice.late_nanousd for _, invoice in sorted(invoices.items())] == [5, 0, 0]


def test_calls_arriving_after_closing_are_a_line_of_the_next_invoice(books):
    may = JUNE - timedelta(days=3)
    books.call(may, 500)
    closed = books.close(JUNE + timedelta(days=2))[date(2026, 5, 1)]
    books.call(may, 70)
    books.call(JUNE - timedelta(days=40), 8)
    statement = billing.find_statement(books.connection, "acme", now=JUNE + timedelta(days=5))
    assert (statement.late_nanousd, statement.next_invoice_nanousd) == (78, 78)
    june = books.close(JUNE + timedelta(days=32))[date(2026, 6, 1)]
    assert [(line.kind, line.period, line.nanousd) for line in june.lines if line.kind != "plan"] == [
        ("late_usage", date(2026, 4, 1), 8),
        ("late_usage", date(2026, 5, 1), 70),
    ]
    assert (june.late_nanousd, june.total_nanousd) == (78, 78)
    assert [one for one in books.invoices() if one.period == closed.period] == [closed]
    books.call(may, 1)
    july = books.close(JUNE + timedelta(days=63))[date(2026, 7, 1)]
    assert [(line.period, line.nanousd) for line in july.lines if line.kind == "late_usage"] == [(date(2026, 5, 1), 1)]
