import json

import pytest
from msgspec import Raw

from keygauge.usage.providers import openai

CHAT = {"prompt_tokens": 10, "completion_tokens": 6, "total_tokens": 16}
RESPONSE = {"input_tokens": 10, "output_tokens": 6, "total_tokens": 16}


def test_chat_counts_include_cached_and_reasoning_tokens():
    usage = CHAT | {
        "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 3, "cached_tokens_details": {"audio_tokens": 1}},
        "completion_tokens_details": {"reasoning_tokens": 2, "audio_tokens": 1},
    }
    found = openai.read_chat({"id": "chatcmpl-1", "model": "gpt-4o"}, usage)
    assert found.raw[:5] == (10, 6, 4, None, 2)
    assert found.raw.details == {"input_audio": 2, "cache_read_audio": 1, "output_audio": 1}
    assert (found.model, found.answer, found.reasoning_is_beside) == ("gpt-4o", "chatcmpl-1", False)


@pytest.mark.parametrize(
    "name", ["prompt_cache_hit_tokens", "cached_tokens", "num_cached_tokens", "cache_read_input_tokens"]
)
def test_cached_tokens_are_found_under_other_providers_names(name):
    assert openai.read_chat({}, CHAT | {name: 4}).raw.cache_read == 4
    own = {"prompt_tokens_details": {"cached_tokens": 0}}
    assert openai.read_chat({}, CHAT | own | {name: 4}).raw.cache_read == 0


def test_input_excludes_the_cache_if_the_total_says_so():
    cached = {"prompt_tokens_details": {"cached_tokens": 100, "cache_write_tokens": 7}}
    assert openai.read_chat({}, CHAT | cached | {"total_tokens": 123}).cache_is_beside
    assert not openai.read_chat({}, CHAT | cached).cache_is_beside
    assert not openai.read_chat({}, CHAT | {"total_tokens": 123}).cache_is_beside


def test_zeros_from_a_gateway_do_not_hide_the_real_counts():
    zeros = {"prompt_tokens": 0, "completion_tokens": 0}
    assert openai.tells_by_other_names(RESPONSE | zeros)
    assert not openai.tells_by_other_names(RESPONSE | CHAT)
    assert not openai.tells_by_other_names(CHAT | {"input_tokens": 0, "output_tokens": 0})


def test_stream_is_final_if_no_choice_is_unfinished():
    def stage(choices):
        return openai.read_chat({"choices": choices}, CHAT).stage

    assert [stage(choices) for choices in ([], None, [{"finish_reason": "stop"}])] == ["final"] * 3
    assert [stage(choices) for choices in ([{}], [None], [{"finish_reason": None}])] == ["running"] * 3


def test_run_steps_are_not_counted_twice():
    assert openai.read_chat({"object": "thread.run.step"}, CHAT) is None


def test_response_tools_billed_per_call_are_counted():
    calls = ["web_search_call", "file_search_call", "code_interpreter_call", "message"]
    output = [*({"type": kind} for kind in calls), {"type": "web_search_call", "action": {"type": "open_page"}}, None]
    found = openai.read_response({"id": "resp_1", "model": "gpt-5", "output": output}, RESPONSE)
    assert found.raw[:2] == (10, 6)
    assert found.raw.details == {"web_searches": 1, "file_searches": 1, "tool_calls": 1}


def test_image_generation_is_billed_by_tokens_if_reported():
    document = {
        "output": [{"type": "image_generation_call"}],
        "tool_usage": {"image_gen": {"input_tokens": 5, "output_tokens": 100}},
    }
    found = openai.read_response(document, RESPONSE)
    assert found.raw[:2] == (15, 106)
    assert found.raw.details == {"images": 0, "output_image": 100}


def test_shape_without_a_total_is_not_attributed_to_openai():
    assert openai.read_response({}, RESPONSE).provider == "openai"
    assert openai.read_response({}, {"input_tokens": 1}).provider is None


def test_seconds_are_rounded_up_and_invalid_values_returned():
    told = [(1, 1), (1.2, 2), ("3.01", 4), ("4", 4), (0, 0), ("x", "x"), (-1, -1), (1e300, 1e300), (None, None)]
    for given, seconds in told:
        assert openai.read_seconds({}, given).raw.details == {"seconds": seconds}
    assert openai.read_seconds({}, float("nan")).raw.details["seconds"] != 0


def test_images_videos_and_transcriptions_are_billed_per_unit():
    assert openai.read_pieces({"object": "video", "seconds": "8"}).raw.details == {"seconds": 8}
    assert openai.read_pieces({"task": "transcribe", "duration": 2.5}).raw.details == {"seconds": 3}
    images = [{"b64_json": "…"}, {"url": "https://images.example/1"}]
    for data in (images, Raw(json.dumps(images).encode())):
        assert openai.read_pieces({"data": data}).raw.details == {"images": 2}
    for nothing in (None, [], [*images, {}], "x", Raw(b"[1]"), Raw(b'"x"')):
        assert openai.read_pieces({"data": nothing}) is None


def test_response_in_an_envelope_is_read():
    found = openai.read_envelope({"type": "response.completed", "response": {"id": "resp_1", "usage": RESPONSE}})
    assert (found.raw[:2], found.answer) == ((10, 6), "resp_1")
    for response in (None, [], {}, {"usage": None}):
        assert openai.read_envelope({"response": response}) is None
