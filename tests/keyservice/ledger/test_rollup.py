import pytest

from keygauge.metrics import DURATION_BUCKETS_S
from keygauge_keyservice.ledger import rollup
from keygauge_keyservice.pricing.cost import Cost


@pytest.fixture
def kept(connection, metered):
    """`kept(*batches)` adds up batches of (event, cost) and returns the rows in order."""

    def kept(*batches):
        for batch in batches:
            sums = rollup.Sums()
            for event, cost in batch:
                sums.add(event, cost)
            rollup.write(connection, sums.groups)
        return connection.execute("SELECT * FROM rollup ORDER BY bucket, model, status_class").fetchall()

    return kept


def test_calls_of_one_group_are_one_row_across_batches(kept, make_event, noon):
    first = [(make_event(), Cost(7, "test")), (make_event(899, status=204), None)]
    others = [(make_event(900), None), (make_event(model=None), None), (make_event(status=404), None)]
    rows = kept(first, [*others, (make_event(1), Cost(5, "test"))])
    assert [(row["bucket"] == noon, row["model"], row["status_class"], row["requests"]) for row in rows] == [
        (True, "", 2, 1),
        (True, "gpt-4o-mini", 2, 3),
        (True, "gpt-4o-mini", 4, 1),
        (False, "gpt-4o-mini", 2, 1),
    ]
    assert (rows[1]["input_tokens"], rows[1]["cost_nanousd"], rows[1]["response_bytes"]) == (300, 12, 4_500)


def test_limited_calls_are_counted_and_unknown_tokens_are_zero(kept, make_event):
    unknown = dict.fromkeys(("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens"))
    outcomes = ("limited", "quota", "forbidden", "admitted")
    [row] = kept([(make_event(status=429, outcome=outcome, **unknown), None) for outcome in outcomes])
    assert (row["requests"], row["limited"], row["input_tokens"], row["cache_read_tokens"]) == (4, 2, 0, 0)


def test_a_part_of_a_call_counts_tokens_and_cost_and_no_request(kept, make_event):
    [row] = kept([(make_event(), Cost(7, "test")), (make_event(outcome="part", duration_us=0), Cost(5, "test"))])
    assert (row["requests"], row["input_tokens"], row["cost_nanousd"], row["duration_us"]) == (1, 200, 12, 120_000)
    assert sum(rollup.duration_counts(int(row["durations"]))) == 1


def test_durations_are_counted_by_bucket_with_inclusive_bounds(kept, make_event):
    bounds_us = [round(bound * 1e6) for bound in DURATION_BUCKETS_S]
    calls = [make_event(duration_us=us) for us in (0, bounds_us[0], bounds_us[0] + 1, bounds_us[-1], bounds_us[-1] + 1)]
    [row] = kept([(call, None) for call in calls], [(call, None) for call in calls])
    counts = rollup.duration_counts(int(row["durations"]))
    assert (counts[0], counts[1], counts[-2], counts[-1]) == (4, 2, 2, 2)
    assert (sum(counts), len(counts)) == (10, rollup.DURATION_COUNTS)


def test_hours_are_the_sums_of_their_quarters(make_event, noon):
    sums = rollup.Sums()
    for offset_s in (-1, 0, 1_800, 3_599):
        sums.add(make_event(offset_s), None)
    hour_s = int(noon.timestamp())
    assert sums.by_hour() == [(hour_s - 3_600, 1, 100, 200), (hour_s, 3, 300, 600)]
