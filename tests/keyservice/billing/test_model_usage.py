from datetime import UTC, datetime

import pytest

from keygauge_keyservice.billing import model_usage
from keygauge_keyservice.ledger import backfill
from keygauge_keyservice.pricing.cost import Cost

MAY, JUNE = datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)
COSTS = {"small": 5, "large": 9, None: 0}


@pytest.mark.usefixtures("metered")
def test_a_months_usage_is_grouped_by_account_and_model_highest_cost_first(connection, make_event):
    searches = {"web_searches": 2}
    events = [
        make_event(model="small", details=searches),
        make_event(60, model="small", details=searches | {"images": 1}),
        make_event(model="large", key="acme-test"),
        make_event(model="small", outcome="forbidden"),
        make_event(30 * 86_400, model="large"),  # in June
        make_event(model=None, account="beta", key="beta-live"),
    ]
    backfill.write_history(connection, events, lambda event: Cost(COSTS[event.model], "test"), spool="test")
    used = model_usage.find(connection, ["acme", "beta", "nobody"], MAY, JUNE)
    assert {account: list(models) for account, models in used.items()} == {"acme": ["small", "large"], "beta": [""]}
    small, large = used["acme"].values()
    assert (small.requests, small.input_tokens, small.cost_nanousd) == (3, 300, 15)
    assert small.details == {"web_searches": 4, "images": 1}
    assert (large.requests, large.cost_nanousd, large.details) == (1, 9, {})
    assert list(model_usage.find(connection, ["beta"], MAY, JUNE)) == ["beta"]
