from datetime import UTC, datetime
from itertools import count

import pytest

from keygauge_keyservice.billing import billing
from keygauge_keyservice.ledger import backfill
from keygauge_keyservice.pricing.public_prices import Cost

BORN = datetime(2026, 3, 10, 15, tzinfo=UTC)


class Books:
    """An account's plans, prices, calls and invoices at times chosen by a test."""

    def __init__(self, connection, make_event, noon):
        self.connection, self.make_event, self.noon = connection, make_event, noon
        self.spools = count()
        connection.execute("DELETE FROM invoice")
        connection.execute("TRUNCATE event, rollup_recent, rollup_packed, usage_aggregate, usage_kind, spool")
        connection.execute("INSERT INTO plan (id, name) VALUES ('pro', 'Pro') ON CONFLICT DO NOTHING")
        connection.execute("UPDATE account SET created_at = %s, plan_id = 'ledger'", (BORN,))
        connection.execute("UPDATE plan SET monthly_nanousd = NULL, prorated = false")
        self.forget()

    def forget(self):
        self.connection.execute("TRUNCATE plan_price_before, account_plan_before")

    def change(self, moment, table, row_id, **values):
        """Change a row as if it were changed at `moment`."""
        ((column, value),) = values.items()
        began = self.connection.execute("SELECT clock_timestamp() AS at").fetchone()["at"]
        self.connection.execute(f"UPDATE {table} SET {column} = %s WHERE id = %s", (value, row_id))
        for history in ("plan_price_before", "account_plan_before"):
            self.connection.execute(
                f"UPDATE {history} SET until = %s WHERE until BETWEEN %s AND clock_timestamp()", (moment, began)
            )

    def call(self, moment, cost, *, account="acme", key="acme-live"):
        event = self.make_event((moment - self.noon).total_seconds(), account=account, key=key)
        backfill.write_history(self.connection, [event], lambda _: Cost(cost, "test"), spool=f"s{next(self.spools)}")

    def close(self, now):
        return {one.period: one for one in billing.close_periods(self.connection, now=now) if one.account_id == "acme"}

    def invoices(self):
        return billing.list_invoices(self.connection, "acme")


@pytest.fixture
def make_books(connection, metered, make_event, noon):
    """`make_books()` starts over, as each Hypothesis example must."""
    return lambda: Books(connection, make_event, noon)


@pytest.fixture
def books(make_books):
    return make_books()
