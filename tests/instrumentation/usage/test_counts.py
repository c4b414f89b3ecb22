import pytest
from hypothesis import given
from hypothesis import strategies as st

from keygauge.kinds import PART_OF
from keygauge.usage.counts import MAX_TOKENS, UNREPORTED, Usage, fitted, whole

COUNT = st.one_of(st.none(), st.integers(0, 2 * MAX_TOKENS))
DETAILS = st.one_of(st.none(), st.dictionaries(st.sampled_from(sorted(PART_OF)), st.integers(0, MAX_TOKENS)))
USAGES = st.builds(Usage, COUNT, COUNT, COUNT, COUNT, COUNT, DETAILS)


@pytest.mark.parametrize("value", [12, 12.0, "12", "0000000012"])
def test_counts_are_read_in_the_notations_of_gateways(value):
    assert whole(value) == 12


@pytest.mark.parametrize(
    "value",
    [None, True, -1, 1.5, "", " 12", "1e3", "12.0", "٣", "0" * 11, MAX_TOKENS + 1, 1e300, float("nan"), [], {}, b"12"],
)
def test_invalid_count_is_none(value):
    assert whole(value) is None


@given(USAGES)
def test_no_fitted_part_is_larger_than_its_total(usage):
    given, made, read, written, reasoned, details = fitted(usage)[0]
    details = details or {}
    if given is not None:
        assert (read or 0) + (written or 0) <= given <= MAX_TOKENS
    if made is not None:
        assert (reasoned or 0) <= made <= MAX_TOKENS
    wholes = {
        "input": max((given or 0) - (read or 0) - (written or 0), 0),
        "output": made or 0,
        "cache_read": read or 0,
        "cache_write": written or 0,
    }
    for whole_name, most in wholes.items():
        assert sum(count for kind, count in details.items() if PART_OF[kind] == whole_name) <= most


@given(USAGES)
def test_usage_that_fits_is_unchanged(usage):
    fit, _ = fitted(usage)
    assert fitted(fit) == (fit, False)


def test_capped_part_is_reported():
    assert fitted(Usage(10, 5, 10, 1)) == (Usage(10, 5, 10, 0), True)
    assert fitted(Usage(10, 5, 3, 2, 5)) == (Usage(10, 5, 3, 2, 5), False)
    assert fitted(Usage(10, details={"input_audio": 11, "images": 3})) == (
        Usage(10, details={"input_audio": 10, "images": 3}),
        True,
    )
    assert fitted(Usage(10, details={"input_audio": 0})) == (Usage(10), False)


@pytest.mark.parametrize(
    ("told", "whole_usage"),
    [
        (Usage(details={"input_audio": 500}), Usage(500, details={"input_audio": 500})),
        (Usage(cache_read_tokens=5, details={"input_image": 3}), Usage(8, None, 5, details={"input_image": 3})),
        (Usage(reasoning_tokens=9, details={"output_audio": 4}), Usage(None, 9, None, None, 9, {"output_audio": 4})),
        (Usage(details={"cache_write_1h": 7}), Usage(7, None, None, 7, details={"cache_write_1h": 7})),
        (Usage(0, 0, details={"images": 1}), Usage(0, 0, details={"images": 1})),
        (Usage(details={"images": 1}), Usage(details={"images": 1})),
    ],
)
def test_missing_total_is_the_sum_of_its_parts(told, whole_usage):
    assert fitted(told) == (whole_usage, False)


@given(USAGES, USAGES, USAGES)
def test_usage_adds_up_in_any_order(one, other, third):
    def plain(usage):
        return usage._replace(details=dict(usage.details or {}))

    assert plain(one + other) == plain(other + one)
    assert plain((one + other) + third) == plain(one + (other + third))
    assert plain(one + UNREPORTED) == plain(one)


@given(USAGES, USAGES)
def test_beyond_returns_the_rest(part, more):
    rest = (part + more).beyond(part)
    assert [count or 0 for count in rest[:5]] == [count or 0 for count in more[:5]]
    assert rest.details == ({kind: n for kind, n in (more.details or {}).items() if n} or None)
    assert part.beyond(part) == UNREPORTED


def test_no_count_exceeds_the_ledgers_maximum():
    most = Usage(MAX_TOKENS + 1, None, 3, details={"images": MAX_TOKENS + 1}).clipped()
    assert most == Usage(MAX_TOKENS, None, 3, details={"images": MAX_TOKENS})
