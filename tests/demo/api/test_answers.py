import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keygauge_demo.api.answers import CACHE_FLOOR_TOKENS, compose, count_tokens
from keygauge_demo.api.catalog import MODELS

MODEL = st.sampled_from(sorted(MODELS)).map(MODELS.get)
TEXTS = st.lists(st.text(max_size=50), min_size=1, max_size=3)


@settings(max_examples=50)
@given(MODEL, TEXTS, st.none() | st.integers(1, 100))
def test_the_same_request_always_gets_the_same_answer(model, texts, cap):
    answer = compose(model, texts, cap_tokens=cap)
    assert compose(model, list(texts), cap_tokens=cap) == answer
    assert answer.text == "".join(answer.pieces)
    assert 0 <= answer.cached_tokens <= answer.input_tokens == count_tokens(texts)
    assert answer.output_tokens == len(answer.pieces) + answer.reasoning_tokens
    assert min(answer.first_token_s, answer.token_s) > 0
    if cap is not None:
        whole = compose(model, texts, cap_tokens=None)
        assert answer.pieces == whole.pieces[:cap]
        assert answer.cut == (len(whole.pieces) > cap)


def test_models_answer_the_same_text_differently():
    assert len({compose(model, ["Hello"], cap_tokens=None).id for model in MODELS.values()}) == len(MODELS)


@pytest.mark.parametrize("characters", [0, 1, 4, 5])
def test_a_token_is_four_characters_rounded_up(characters):
    assert count_tokens(["x" * characters]) == 4 + -(-characters // 4)


def test_short_prompts_are_not_cached():
    model = MODELS["gpt-4o-mini"]
    for length, is_cached in ((100, False), (4 * CACHE_FLOOR_TOKENS, True)):
        assert (compose(model, ["x" * length], cap_tokens=None).cached_tokens > 0) == is_cached
