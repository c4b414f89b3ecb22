from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keygauge_keyservice.ledger import backfill, packing, rollup
from keygauge_keyservice.ledger.aggregate import add_up
from keygauge_keyservice.pricing.public_prices import PublicPrices

PRICE = PublicPrices()

calls = st.lists(
    st.fixed_dictionaries(
        {
            "offset_s": st.integers(-3 * 86_400, 3 * 86_400),
            "key": st.sampled_from(["acme-live", "acme-test"]),
            "model": st.sampled_from([None, "gpt-4o", "gpt-4o-mini"]),
            "route": st.sampled_from(["/a", "/b>c"]),
            "status": st.sampled_from([200, 302, 404, 429, 500]),
            "outcome": st.sampled_from(["admitted", "limited"]),
            "duration_us": st.integers(0, 1 << 42),
        }
    ),
    min_size=1,
    max_size=20,
)


@pytest.mark.usefixtures("metered")
@given(batches=st.lists(st.tuples(calls, st.integers(-3, 6)), min_size=1, max_size=3))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_aggregates_are_the_sums_of_the_roll_ups(connection, make_event, noon, batches):
    connection.execute("TRUNCATE event, rollup_recent, rollup_packed, usage_aggregate, spool")
    for number, (batch, days) in enumerate(batches):
        events = [make_event(**call) for call in batch]
        backfill.write_history(connection, events, PRICE, spool=f"test{number}")
        packing.pack(connection, noon + timedelta(days=days))
    expected = "SELECT * FROM usage_aggregate_of_rollups('-infinity', 'infinity', '{900,7200,86400,604800}')"
    assert connection.execute(f"SELECT * FROM usage_aggregate EXCEPT {expected}").fetchall() == []
    assert connection.execute(f"{expected} EXCEPT SELECT * FROM usage_aggregate").fetchall() == []


def test_one_group_has_a_row_per_breakdown_and_length(make_event):
    sums = rollup.Sums()
    sums.add(make_event(), None)
    assert len(add_up(sums.groups)) == 4 * 4 - 1 + 9
