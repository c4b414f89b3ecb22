import pytest
from hypothesis import given
from hypothesis import strategies as st

from keygauge.weights import TOKEN_COUNTS, Weights

weight = st.integers(0, 1_000)
weights = st.builds(
    Weights,
    request=weight,
    input=weight,
    output=weight,
    cache_read=st.none() | weight,
    cache_write=st.none() | weight,
    reasoning=st.none() | weight,
)


@st.composite
def usages(draw):
    read, written, fresh, thought, generated = (draw(st.integers(0, 10**6)) for _ in range(5))
    return dict(zip(TOKEN_COUNTS, (read + written + fresh, thought + generated, read, written, thought), strict=True))


def by_kind(weights, requests, usage):
    """Return the units, counting each token once, by its own kind."""
    fresh = usage["input_tokens"] - usage["cache_read_tokens"] - usage["cache_write_tokens"]
    told = {
        "request": requests,
        "input": fresh,
        "output": usage["output_tokens"] - usage["reasoning_tokens"],
        "cache_read": usage["cache_read_tokens"],
        "cache_write": usage["cache_write_tokens"],
        "reasoning": usage["reasoning_tokens"],
    }
    instead = {"cache_read": "input", "cache_write": "input", "reasoning": "output"}
    total = 0
    for kind, count in told.items():
        own = getattr(weights, kind)
        total += count * (getattr(weights, instead[kind]) if own is None else own)
    return total


@given(weights=weights, usage=usages())
def test_each_token_counts_once_by_its_kind(weights, usage):
    assert weights.units(requests=1, **usage) == by_kind(weights, 1, usage)


@given(weights=weights, usages=st.lists(usages(), max_size=9))
def test_value_of_sums_is_the_sum_of_the_calls_values(weights, usages):
    sums = {name: sum(usage[name] for usage in usages) for name in TOKEN_COUNTS}
    each = sum(weights.units(requests=1, **usage) for usage in usages)
    assert weights.units(requests=len(usages), **sums) == each


@given(weights=weights, usage=usages())
def test_no_call_is_worth_more_than_its_highest_possible_value(weights, usage):
    assert weights.units(requests=1, **usage) <= weights.most(usage["input_tokens"], usage["output_tokens"])


@pytest.mark.parametrize(
    ("weights", "text"),
    [
        (Weights(input=1, output=4), "input+4*output"),
        (Weights(request=10, input=2, cache_read=0), "10*request+2*input+0*cache_read"),
    ],
)
def test_weights_are_formatted_as_a_sum(weights, text):
    assert str(weights) == text


def test_unknown_kinds_are_ignored():
    assert Weights.from_json({"input": 3, "thoughts": 9}) == Weights(input=3)
    assert not Weights(output=0)
    assert Weights(request=1)
