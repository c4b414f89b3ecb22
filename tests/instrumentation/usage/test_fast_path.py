"""The fast path for common answers: if it reads one at all, the result equals the full reader's."""

import json
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from keygauge.usage import Usage, fast_path, reader_for
from keygauge.usage.counts import MAX_TOKENS
from keygauge.usage.formats.json_body import BodyReader

GOLDEN = Path(__file__).parent / "golden"
counts = st.sampled_from([0, 1, 7, MAX_TOKENS, MAX_TOKENS + 1, -1, 2.0, True, None, "3", [], {}])
VERTEX = "projects/p/locations/l/publishers/google/models/gemini-2.5-flash"
names = st.sampled_from(
    [
        *("gpt-4o", "gpt-4.1", "mistral-small-latest", "claude-opus", "models/gemini-2.5-flash", VERTEX),
        *("", None, 3, "x" * 257, "é\ud800"),
    ]
)
details = (
    st.none()
    | st.integers()
    | st.dictionaries(
        st.sampled_from(["cached_tokens", "cache_write_tokens", "reasoning_tokens", "thinking_tokens"]), counts
    )
)
ordinary = st.sampled_from(
    [{"prompt_tokens": 9, "completion_tokens": 5}, {"input_tokens": 9, "output_tokens": 5}]
)  # else hardly any example would take the fast path
others = st.dictionaries(
    st.sampled_from(
        [
            *("prompt_tokens", "completion_tokens", "total_tokens", "input_tokens", "output_tokens"),
            *("cache_read_input_tokens", "cache_creation_input_tokens", "prompt_audio_seconds"),
        ]
    ),
    counts,
)
usages = st.builds(dict.__or__, ordinary | st.just({}), others | st.just({})).flatmap(
    lambda usage: st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(
            ("prompt_tokens_details", "completion_tokens_details", "output_tokens_details"), details
        ),
    ).map(usage.__or__)
)
choices = st.none() | st.lists(st.sampled_from([{"finish_reason": "stop"}, {"finish_reason": None}, {}, 5]), max_size=2)
documents = st.fixed_dictionaries(
    {"usage": usages | st.none()},
    optional={"model": names, "type": st.sampled_from(["message", "message_delta", 1]), "choices": choices},
)


def read_long(body, *, complete):
    reader = BodyReader()
    reader.feed(body)
    return reader._close(complete=complete)


@given(document=documents, complete=st.booleans())
@example(
    document={"model": "m", "usage": {"prompt_tokens": 9, "completion_tokens": 5, "prompt_audio_seconds": None}},
    complete=True,
)
@example(document={"model": "m", "usage": {"prompt_tokens": 9, "completion_tokens": 5}, "choices": [{}]}, complete=True)
def test_fast_path_agrees_with_the_full_reader_or_defers_to_it(document, complete):
    body = json.dumps(document).encode()
    reading = fast_path.read(body)
    assert reading is None or reading == read_long(body, complete=complete)


@pytest.mark.parametrize("name", ["openai_chat.json", "vllm_chat.json", "mistral_chat.json", "anthropic_message.json"])
def test_common_answers_take_the_fast_path(name):
    body = (GOLDEN / name).read_bytes()
    assert fast_path.read(body) == read_long(body, complete=True)
    assert fast_path.read(body).usage is not None


@pytest.mark.parametrize("given", ["models/gemini-2.5-flash", VERTEX])
def test_model_has_the_name_that_streams_give_it(given):
    chat = json.loads((GOLDEN / "openai_chat.json").read_bytes()) | {"model": given}
    assert fast_path.read(json.dumps(chat).encode())[1:3] == ("gemini-2.5-flash", "gcp.gemini")


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.json")), ids=lambda path: path.stem)
@pytest.mark.parametrize("cut", [0, 1, 40])
def test_no_answer_is_read_differently(path, cut):
    body = path.read_bytes().rstrip()
    body = body[: len(body) - cut]
    reading = fast_path.read(body)
    assert reading is None or (not cut and reading == read_long(body, complete=True))


def test_message_from_openrouter_is_its_own_with_any_model_name():
    usage = {"input_tokens": 10, "output_tokens": 5, "cost": 0.1, "is_byok": False}
    body = json.dumps({"id": "m", "type": "message", "model": "anthropic/claude-4.5-sonnet", "usage": usage}).encode()
    reader = reader_for(b"application/json", None)
    reader.feed(body)
    assert reader.close(complete=True)[:3] == (Usage(10, 5), "anthropic/claude-4.5-sonnet", "openrouter")
