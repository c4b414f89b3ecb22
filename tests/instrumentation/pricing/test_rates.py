from collections import Counter
from dataclasses import replace
from fractions import Fraction

from hypothesis import example, given
from hypothesis import strategies as st

from keygauge.kinds import CHARGED, PART_OF
from keygauge.pricing.rates import Rates, cost_nanousd, rates_of
from keygauge.usage import Usage
from keygauge.usage.counts import fitted

RATE = st.integers(0, 10**12)
COUNT = st.one_of(st.none(), st.integers(0, 10**9))
KIND = st.sampled_from(sorted(PART_OF))
RATES = st.builds(
    Rates,
    above=st.just(-1),
    input=RATE,
    output=RATE,
    cache_read=RATE,
    cache_write=RATE,
    reasoning=RATE,
    request=RATE,
    details=st.dictionaries(KIND, RATE, max_size=4),
)
USAGES = st.builds(
    Usage, COUNT, COUNT, COUNT, COUNT, COUNT, st.none() | st.dictionaries(KIND, COUNT.map(lambda n: n or 0), max_size=4)
)
PLAIN = Rates(above=-1, input=3_000, output=15_000, cache_read=300, cache_write=3_750, reasoning=15_000, request=0)


@given(RATES, USAGES)
def test_cost_is_a_non_negative_integer(rates, usage):
    cost = rates.cost_nanousd(fitted(usage)[0])
    assert type(cost) is int
    assert cost >= 0


@given(RATES, USAGES)
def test_no_call_costs_more_than_its_highest_possible_cost(rates, usage):
    usage = fitted(usage)[0]
    details = {kind: count for kind, count in (usage.details or {}).items() if PART_OF[kind]}
    usage = usage._replace(details=details or None)
    most = rates.most_nanousd(usage.input_tokens or 0, usage.output_tokens or 0)
    if usage.input_tokens is not None and usage.output_tokens is not None:
        assert rates.cost_nanousd(usage) <= most


def exact_by_kind(rates, usage):
    """Return the unrounded cost of each kind, calculated independently of the product."""
    read, written, reasoned = (count or 0 for count in usage[2:5])
    counts = Counter(
        input=max((usage.input_tokens or 0) - read - written, 0),
        output=max((usage.output_tokens or 0) - reasoned, 0),
        cache_read=read,
        cache_write=written,
        reasoning=reasoned,
        request=1,
    )
    of_kinds = Counter()
    for kind, count in (usage.details or {}).items():
        whole = PART_OF[kind]
        rest = min(count, counts[whole]) if whole else 0  # reasoning in audio, say, is counted as reasoning already
        if whole:
            counts[whole] -= rest
        own = rates.details.get(kind)
        of_kinds[kind] = count * own if own is not None else rest * getattr(rates, whole) if whole else 0
    exact = {kind: count * getattr(rates, kind) for kind, count in counts.items()} | of_kinds
    return {kind: Fraction(cost, 10**6) for kind, cost in exact.items()}


@example(replace(PLAIN, output=10**6, reasoning=0), Usage(None, None, None, None, 1, {"output_audio": 1}))
@given(RATES, USAGES)
def test_costs_by_kind_add_up_and_each_is_off_by_less_than_a_nano_dollar(rates, usage):
    usage = fitted(usage)[0]
    costs = dict(zip(CHARGED, rates.cost_by_kind(usage), strict=False))
    exact = exact_by_kind(rates, usage)
    assert sum(costs.values()) == rates.cost_nanousd(usage) == (2 * sum(exact.values()) + 1) // 2
    assert all(cost >= 0 and abs(cost - exact.get(kind, 0)) < 1 for kind, cost in costs.items())
    assert all(exact[kind] < 1 for kind in exact.keys() - costs.keys())


@given(RATES, USAGES)
def test_inconsistent_counts_have_costs_by_kind_too(rates, usage):
    assert sum(rates.cost_by_kind(usage)) == rates.cost_nanousd(usage)
    assert min(rates.cost_by_kind(usage)) >= 0


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_sum_of_the_parts_is_rounded_once_half_up(given_tokens, made):
    exact = Fraction(given_tokens * PLAIN.input + made * PLAIN.output, 10**6)
    assert PLAIN.cost_nanousd(Usage(given_tokens, made)) == (2 * exact + 1) // 2


def test_each_part_has_its_own_rate():
    million = 10**6
    assert PLAIN.cost_nanousd(Usage(million)) == 3_000
    assert PLAIN.cost_nanousd(Usage(million, cache_read_tokens=million)) == 300
    assert PLAIN.cost_nanousd(Usage(million, cache_write_tokens=million)) == 3_750
    assert replace(PLAIN, reasoning=1).cost_nanousd(Usage(0, million, reasoning_tokens=million)) == 1
    assert replace(PLAIN, request=million * 7).cost_nanousd(Usage()) == 7


def test_kind_is_charged_at_its_own_rate_instead_of_the_including_kinds():
    rates = replace(PLAIN, details={"input_audio": 100_000, "images": 40_000_000})
    assert rates.cost_nanousd(Usage(1_000_000, details={"input_audio": 1_000_000})) == 100_000
    assert rates.cost_nanousd(Usage(1_000_000, details={"input_image": 1_000_000})) == 3_000
    assert rates.cost_nanousd(Usage(details={"images": 2})) == 80


def test_tier_depends_on_the_input_size():
    tiers = (PLAIN, replace(PLAIN, above=200_000, input=6_000), replace(PLAIN, above=400_000, input=9_000))
    sizes = [0, 200_000, 200_001, 400_000, 400_001]
    assert [rates_of(tiers, size).input for size in sizes] == [3_000, 3_000, 6_000, 6_000, 9_000]
    assert rates_of((replace(PLAIN, above=5),), 0).above == 5
    assert cost_nanousd(tiers, Usage(1_000_000, 0)) == 9_000


def test_usage_without_a_rate_has_no_cost_instead_of_0():
    assert cost_nanousd((PLAIN,), Usage(details={"images": 1})) is None
    assert cost_nanousd((PLAIN,), Usage(0, 0)) == 0
    free = replace(PLAIN, input=0, output=0)
    assert cost_nanousd((free,), Usage(details={"images": 1})) == 0
    assert cost_nanousd((replace(PLAIN, details={"images": 5 * 10**6}),), Usage(details={"images": 1})) == 5


def test_rates_are_serialized_flat():
    written = replace(PLAIN, details={"images": 5}).to_json()
    assert (written["above"], written["images"], written["input"]) == (None, 5, 3_000)
    assert replace(PLAIN, above=9).to_json()["above"] == 9
