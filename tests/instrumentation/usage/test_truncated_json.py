import json

from hypothesis import given
from hypothesis import strategies as st

from keygauge.usage.truncated_json import _MAX_DEPTH, _MAX_ELEMENTS, _MAX_TEXT_BYTES, MAX_KEPT_BYTES, TruncatedJson

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


def reduce(data, cuts=()):
    reduced, at = TruncatedJson(), 0
    for cut in (*sorted(cuts), len(data)):
        reduced.feed(data[at:cut])
        at = cut
    return reduced


@given(JSON, st.data(), st.booleans())
def test_a_small_document_stays_as_it_is_however_it_is_cut(value, data, is_ascii):
    text = json.dumps(value, ensure_ascii=is_ascii).encode("utf-8", "replace")
    cuts = data.draw(st.sets(st.integers(0, len(text)), max_size=6))
    assert bytes(reduce(text, cuts).kept) == text


def test_long_texts_become_empty_and_what_follows_them_is_kept():
    for image in ("x" * (_MAX_TEXT_BYTES + 1), '\\"' * _MAX_TEXT_BYTES, "é" * 1_000_000):
        text = json.dumps({"image": image, "usage": {"input_tokens": 3}}).encode()
        for cuts in ((), range(1, len(text), max(1, len(text) // 50))):
            assert json.loads(reduce(text, cuts).kept) == {"image": "", "usage": {"input_tokens": 3}}
    just = {"text": "x" * _MAX_TEXT_BYTES}
    assert json.loads(reduce(json.dumps(just).encode()).kept) == just


def test_arrays_keep_their_first_elements_and_the_last():
    documents = [{"id": number} for number in range(10_000)]
    kept = json.loads(reduce(json.dumps({"data": documents, "usage": 1}).encode()).kept)
    assert kept["usage"] == 1
    assert len(kept["data"]) <= _MAX_ELEMENTS + 1
    assert (kept["data"][0], kept["data"][-1]) == (documents[0], documents[-1])
    vector = json.loads(reduce(json.dumps({"v": [0.5] * 100_000, "usage": 2}).encode()).kept)
    assert vector == {"v": [0.5] * _MAX_ELEMENTS, "usage": 2}


@given(st.lists(st.binary(max_size=40), max_size=6))
def test_whatever_comes_no_more_is_held_than_the_bound(chunks):
    reduced = TruncatedJson()
    for chunk in chunks * 3:
        reduced.feed(chunk)
        assert len(reduced.kept) <= MAX_KEPT_BYTES


def test_what_is_past_the_bounds_all_the_same_is_given_up_and_holds_nothing():
    deep = TruncatedJson()
    deep.feed(b"[" * (_MAX_DEPTH + 1))
    wide = TruncatedJson()
    for number in range(MAX_KEPT_BYTES // 8):
        wide.feed(b'{"%08d":' % number if number % 9 else b"1}")
    numbers = TruncatedJson()
    numbers.feed(b"1" * (MAX_KEPT_BYTES + 1))
    assert [one.is_lost for one in (deep, wide, numbers)] == [True] * 3
    assert not deep.kept
    numbers.feed(b'{"usage": 1}')
    assert not numbers.kept
