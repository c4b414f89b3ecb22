from hypothesis import given
from hypothesis import strategies as st

from keygauge.usage import found

COUNTS = st.one_of(st.none(), st.integers(0, 1000), st.integers(0, 1000).map(str))


def test_first_object_of_several_names_is_returned():
    holder = {"a": None, "b": [], "c": {"x": 1}, "d": {"x": 2}}
    assert found.inside(holder, "a", "b", "c", "d") == {"x": 1}
    for nothing in (None, [], "text", 7, {}, {"c": "text"}):
        assert found.inside(nothing, "c") == {}


def test_first_value_is_returned_even_if_0():
    holder = {"a": None, "b": 0, "c": 5}
    assert found.first(holder, "a", "b", "c") == 0
    assert found.first(holder, "a", "x") is None


def test_part_is_subtracted_only_if_it_fits():
    assert found.less(10, 4) == 6
    assert found.less("10", 10.0) == 0
    for count, part in ((10, 11), (10, None), (10, "many"), (10, -1), ("many", 1), (None, 1)):
        assert found.less(count, part) == count


@given(st.lists(COUNTS))
def test_counts_add_up_exactly(counts):
    assert found.total(counts) == sum(int(count or 0) for count in counts)


@given(st.lists(COUNTS), st.sampled_from([-1, "x", 1.5, True, {}]), st.lists(COUNTS))
def test_invalid_count_is_returned_so_that_it_is_reported(before, bad, after):
    assert found.total([*before, bad, *after]) is bad


def test_counts_are_added_up_by_kind_without_losing_any():
    told = {"web": 2, "news": 1, "code": 3, "unused": 0}
    kinds = {"web": "web_searches", "news": "web_searches", "unused": "images"}
    assert found.by_kind(told, kinds, "tool_calls") == {"web_searches": 3, "tool_calls": 3}
    assert found.by_kind({"web": "x", "news": 1}, kinds, "tool_calls") == {"web_searches": "x"}


def part(*counts, stage="final"):
    return found.Found(found.RawUsage(*counts), "p", "m", stage, answer="a")


def test_parts_of_a_batch_are_added_up():
    whole = found.together([part(6, 4, 2), part(7, None, 0), part("3", 5.0)])
    assert (whole.raw[:5], whole.raw.is_spoiled) == ((16, 9, 2, None, None), False)
    assert (whole.stage, whole.answer, whole.model) == ("final", None, "m")
    assert found.together([part(6, 4), part(7, 5, stage="running")]).stage == "running"


def test_impossible_count_marks_a_batch_spoiled_and_the_rest_is_kept():
    whole = found.together([part(6, 4), part(-7, 5), part(1, 1)])
    assert (whole.raw[:2], whole.raw.is_spoiled) == ((7, 10), True)
