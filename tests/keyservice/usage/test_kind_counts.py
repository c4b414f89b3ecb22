"""Sums of the kinds of use beyond the usual token counts match the events, for any range and grouping."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keygauge_keyservice.ledger import backfill
from keygauge_keyservice.pricing.public_prices import PublicPrices
from keygauge_keyservice.usage import usage

PRICE = PublicPrices()
START = datetime(2026, 4, 10, tzinfo=UTC)
COUNTS = st.dictionaries(
    st.sampled_from(["input_audio", "images", "web_searches", "of_a_newer_replica"]), st.integers(0, 10**9)
)

pytestmark = pytest.mark.usefixtures("metered")


@given(
    calls=st.lists(
        st.fixed_dictionaries(
            {
                "time_us": st.integers(0, 5 * 86_400 - 1).map(lambda s: int(START.timestamp() + s) * 1_000_000),
                "model": st.sampled_from([None, "gpt-4o-audio-preview", "gpt-image-1"]),
                "status": st.sampled_from([200, 500]),
                "details": st.none() | COUNTS,
            }
        ),
        min_size=1,
        max_size=12,
    ),
    by=st.lists(st.sampled_from(["account", "key", "route", "model", "status"]), unique=True),
    narrowed=st.sampled_from([{}, {"model": "gpt-image-1"}, {"key_id": "acme-live"}, {"route": "/other"}]),
    account=st.sampled_from([None, "acme", "beta"]),
    first=st.integers(0, 4 * 96),
    length=st.integers(1, 5 * 96),
)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_kinds_of_any_range_and_group_match_its_events(
    connection, make_event, calls, by, narrowed, account, first, length
):
    connection.execute("TRUNCATE event, rollup_recent, rollup_packed, usage_aggregate, usage_kind, spool")
    events = [make_event(**call) for call in calls]
    backfill.write_history(connection, events, PRICE, spool="test")
    start = START + first * timedelta(minutes=15)
    end = start + length * timedelta(minutes=15)
    expected = {}
    for event in events:
        names = event._asdict() | {"model": event.model or "", "status": f"{event.status // 100}xx"}
        is_chosen = all(names[name.removesuffix("_id")] == value for name, value in narrowed.items())
        if is_chosen and account in {None, "acme"} and start.timestamp() <= event.time_us / 1e6 < end.timestamp():
            expected.setdefault(tuple(names[name] for name in by), Counter()).update(event.details or {})
    selection = {"account_id": account, "start": start, "end": end, **narrowed}
    parts = usage.breakdown(connection, by=by, **selection)
    assert {part.names: part.details for part in parts} == {names: +counts for names, counts in expected.items()}
    whole = sum(expected.values(), Counter())
    assert usage.totals(connection, **selection).details == +whole
    points = usage.series(connection, bucket="day", zone="Asia/Kathmandu", group_by=by, **selection)
    assert sum((Counter(point.details) for point in points), Counter()) == +whole


def test_calls_without_other_kinds_add_no_rows(connection, make_event):
    backfill.write_history(connection, [make_event(), make_event(details={"images": 0})], PRICE, spool="test")
    assert connection.execute("SELECT count(*) AS rows FROM usage_kind").fetchone() == {"rows": 0}
