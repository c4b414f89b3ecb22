from hypothesis import given
from hypothesis import strategies as st

from keygauge.metrics import DURATION_BUCKETS_S
from keygauge_keyservice.usage.sums import UsageSums

BUCKETS = len(DURATION_BUCKETS_S) + 1


@given(st.lists(st.integers(0, 50), min_size=BUCKETS, max_size=BUCKETS), st.floats(0, 1), st.floats(0, 1))
def test_percentiles_are_monotonic_and_within_the_bounds(counts, share, other):
    sums = UsageSums(requests=sum(counts), duration_counts=tuple(counts))
    if not sums.requests:
        assert sums.percentile_s(share) is sums.p50_s is None
        return
    low, high = (sums.percentile_s(one) for one in sorted((share, other)))
    assert 0 <= low <= high <= DURATION_BUCKETS_S[-1]


def test_percentiles_are_interpolated_linearly_within_a_bucket():
    counts = [0] * BUCKETS
    counts[DURATION_BUCKETS_S.index(1.0)] = 10
    sums = UsageSums(requests=10, duration_counts=tuple(counts))
    assert (sums.percentile_s(0.5), sums.percentile_s(1)) == (0.875, 1.0)
    beyond = UsageSums(requests=1, duration_counts=(*[0] * (BUCKETS - 1), 1))
    assert beyond.p99_s == DURATION_BUCKETS_S[-1]


def test_figures_without_calls_are_none_rather_than_zero():
    none = UsageSums()
    assert (none.tokens_per_request, none.error_rate, none.average_duration_s) == (None, None, None)
    some = UsageSums(requests=4, input_tokens=6, output_tokens=2, server_errors=1, duration_us=2_000_000)
    assert (some.tokens, some.tokens_per_request, some.error_rate, some.average_duration_s) == (8, 2.0, 0.25, 0.5)


def test_sums_are_read_from_a_row_and_other_columns_ignored():
    row = {name: number for number, name in enumerate(UsageSums.__dataclass_fields__)}
    row["durations"] = 3 * 10**228 + 2 * 10**12 + 1
    sums = UsageSums.from_row(row | {"more": 1})
    assert (sums.requests, sums.limited, sums.duration_counts) == (0, 1, (1, 2, *[0] * (BUCKETS - 3), 3))
