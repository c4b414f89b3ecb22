from hypothesis import given, settings
from hypothesis import strategies as st

from keygauge.telemetry import labels
from keygauge.telemetry.labels import (
    NO_STATUS,
    OTHER,
    OTHER_KEY,
    OTHER_METHOD,
    Cardinality,
    Labels,
    Names,
    nameless,
    rest,
)

PLAIN = Labels("k1", "/v1", "m", "m", "openai", "GET", 200, None, "admitted", None, "sse", None)
ANYTHING = st.one_of(st.none(), st.text(max_size=250), st.integers(-1, 700), st.floats(), st.binary(max_size=3))


def test_first_names_are_kept_and_later_ones_fold():
    names = Names(2)
    assert [names.fold(name) for name in ("a", "b", "c", "a", "c")] == ["a", "b", OTHER, "a", OTHER]
    assert (names.is_full, names.kept) == (True, {"a", "b"})
    assert names.contenders.turn({"a": 0, "b": 0}) == []  # two uses are not enough for a place
    names.swap("a", "c")
    assert [names.fold(name) for name in ("a", "c")] == [OTHER, "c"]


def test_invalid_names_take_no_place():
    names = Names(2)
    for name in ("", "x" * 201, "a\nb", "\ud800", 3, [], b"a"):
        assert names.fold(name) == OTHER
    assert names.kept == frozenset()
    assert names.fold_optional(None) is names.fold_optional("") is None


def test_unproven_names_take_at_most_half_of_the_places():
    names = Names(10)
    for number in range(100):
        names.fold_unproven(f"made-up-{number}")
    assert len(names.kept) == 6 - 1
    assert names.fold("known") == "known"
    assert names.fold_unproven("known") == "known"
    assert names.fold_unproven(None) is names.fold_unproven("") is None


def test_a_plain_call_keeps_its_labels():
    assert Cardinality(max_keys=5, max_routes=5, max_models=5).fold(PLAIN) == PLAIN


@settings(max_examples=30)
@given(st.lists(st.builds(Labels, *[ANYTHING] * 12), max_size=20))
def test_every_label_is_bounded_and_of_one_type_for_any_input(calls):
    cardinality = Cardinality(max_keys=2, max_routes=2, max_models=2)
    folded = [cardinality.fold(call, is_proven=number % 2 == 0) for number, call in enumerate(calls)]
    for one in folded:
        assert all(value is None or isinstance(value, str) for name, value in one._asdict().items() if name != "status")
        assert one.status == NO_STATUS or 100 <= one.status <= 599
        assert all(value.isprintable() for value in one if isinstance(value, str))
    for name in ("key", "route", "model", "requested"):
        assert len({getattr(one, name) for one in folded}) <= 2 + 5


def test_distinct_statuses_are_bounded():
    cardinality = Cardinality(max_keys=1, max_routes=1, max_models=1)
    told = [cardinality.fold(PLAIN._replace(status=status)).status for status in range(100, 600)]
    assert told == [*range(100, 140), *[NO_STATUS] * 460]


def test_special_keys_take_no_place():
    cardinality = Cardinality(max_keys=1, max_routes=1, max_models=1)
    keys = ("k1", "k2", "anonymous", "invalid")
    assert [cardinality.fold(PLAIN._replace(key=key)).key for key in keys] == ["k1", OTHER_KEY, "anonymous", "invalid"]


def test_rest_keeps_status_outcome_and_whether_there_was_an_error():
    series = rest(PLAIN._replace(error="ValueError", limit="rpm", status=500))
    assert series == Labels(
        OTHER_KEY, OTHER, OTHER, OTHER, OTHER, OTHER_METHOD, 500, OTHER_METHOD, "admitted", OTHER, "sse", None
    )
    assert rest(PLAIN._replace(key="invalid")).key == "invalid"
    assert rest(series) == series


def test_nameless_call_is_counted_by_status_class_and_outcome():
    assert [nameless(status, "x").status for status in (204, 599, 99, 600, True, "200", None)] == [200, 500, *[0] * 5]
    assert nameless(200, "limited").outcome == "limited"
    assert nameless(200, ["limited"]).outcome == OTHER
    assert labels.rest(nameless(404, "admitted")) == nameless(404, "admitted")
