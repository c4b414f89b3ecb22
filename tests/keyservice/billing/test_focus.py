from datetime import UTC, datetime
from decimal import Decimal

import pytest

from keygauge_keyservice.accounts import accounts
from keygauge_keyservice.billing import focus
from keygauge_keyservice.ledger import backfill
from keygauge_keyservice.pricing.public_prices import PublicPrices
from keygauge_keyservice.usage import usage

MAY = {"start": datetime(2026, 5, 1, tzinfo=UTC), "end": datetime(2026, 6, 1, tzinfo=UTC)}
DAY_S = 86_400


@pytest.mark.usefixtures("metered")
def test_rows_of_days_models_and_kinds_add_up_to_the_last_nano_dollar(connection, make_event):
    sonnet = {"model": "claude-sonnet-4-6", "details": {"web_searches": 2, "cache_write_1h": 3}}
    events = [make_event(), make_event(DAY_S), make_event(**sonnet), make_event(account="beta", key="beta-live")]
    backfill.write_history(connection, events, PublicPrices(), spool="test")
    plan = {"plan_name": "Pro", "plan_nanousd": 49 * 10**9}
    found = focus.find_rows(connection, accounts.require(connection, "acme"), **MAY, **plan)
    rows = [dict(zip(focus.COLUMNS, row, strict=True)) for row in found]
    spent = usage.totals(connection, account_id="acme", **MAY).cost_nanousd
    assert sum(row["BilledCost"] * 10**9 for row in rows) == spent + 49 * 10**9
    assert [row["ChargeCategory"] for row in rows].count("Purchase") == 1
    assert {row["ChargeCategory"] for row in rows} == {"Purchase", "Usage"}
    assert {row["BillingAccountId"] for row in rows} == {"acme"}
    used = {row["SkuMeter"]: row for row in rows if row["SkuId"] == "claude-sonnet-4-6"}
    tokens = used["Input tokens"]
    assert (tokens["ChargePeriodStart"], tokens["BillingCurrency"]) == ("2026-05-20T00:00:00Z", "USD")
    assert (tokens["ConsumedUnit"], tokens["PricingUnit"]) == ("Tokens", "1000000 Tokens")
    assert Decimal(tokens["PricingQuantity"]) * 10**6 == tokens["ConsumedQuantity"]
    searches = used["Web searches"]
    assert (searches["ConsumedQuantity"], searches["ConsumedUnit"]) == (2, "Web searches")
    assert searches["BilledCost"] == Decimal("0.02")
    days = {row["ChargePeriodStart"] for row in rows if row["SkuId"] == "gpt-4o-mini"}
    assert days == {"2026-05-20T00:00:00Z", "2026-05-21T00:00:00Z"}
