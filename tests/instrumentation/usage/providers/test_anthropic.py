import json

from keygauge.usage import reader_for
from keygauge.usage.providers import anthropic

USAGE = {"input_tokens": 10, "output_tokens": 4, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 2}


def test_shape_is_recognized_by_type_or_cache_counts():
    assert anthropic.is_shape({"type": "message"}, {"input_tokens": 1})
    assert anthropic.is_shape({"type": "message_delta"}, {})
    assert anthropic.is_shape({}, USAGE)
    assert not anthropic.is_shape({"type": ["message"]}, {"input_tokens": 1})
    assert not anthropic.is_shape({"object": "response"}, {"input_tokens": 1})


def test_input_of_a_message_excludes_the_cache():
    found = anthropic.read({"id": "msg_1", "model": "claude-sonnet-4"}, USAGE)
    assert found.raw[:4] == (10, 4, 3, 2)
    assert (found.model, found.answer, found.stage, found.cache_is_beside) == (
        "claude-sonnet-4",
        "msg_1",
        "final",
        True,
    )
    assert anthropic.read({"id": 7}, USAGE).answer is None


def test_thinking_tools_and_one_hour_cache_writes_are_counted_by_kind():
    usage = USAGE | {
        "output_tokens_details": {"thinking_tokens": 3},
        "cache_creation": {"ephemeral_1h_input_tokens": 2, "ephemeral_5m_input_tokens": 0},
        "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 1},
    }
    told = anthropic.read({}, usage).raw
    assert told.reasoning == 3
    assert told.details == {"cache_write_1h": 2, "web_searches": 2, "tool_calls": 1}


def test_compactions_are_added_to_the_outer_counts():
    steps = [
        {"type": "message", "input_tokens": 1000},
        {"type": "compaction", "input_tokens": 100, "output_tokens": 20, "cache_read_input_tokens": 7},
        {"type": "compaction", "input_tokens": 1},
    ]
    told = anthropic.read({}, USAGE | {"iterations": steps}).raw
    assert told[:4] == (111, 24, 10, 2)
    assert not told.is_spoiled


def test_invalid_compaction_marks_the_counts_spoiled_without_changing_them():
    for bad in ("many", -5, 1.5):
        told = anthropic.read({}, USAGE | {"iterations": [{"type": "compaction", "input_tokens": bad}]}).raw
        assert told.input == 10
        assert told.is_spoiled


def test_advice_from_another_model_counts_for_that_model():
    steps = [
        {"type": "advisor_message", "model": "claude-opus-4", "input_tokens": 50, "output_tokens": 5},
        {"type": "advisor_message", "input_tokens": 9},
    ]
    ((model, told),) = anthropic.read({}, USAGE | {"iterations": steps}).others
    assert (model, told.input, told.output) == ("claude-opus-4", 50, 5)


def test_start_of_a_stream_is_not_final():
    found = anthropic.read_start({"message": {"id": "msg_1", "usage": USAGE}})
    assert found.stage == "opening"
    for event in ({}, {"message": None}, {"message": {}}, {"message": {"usage": 3}}):
        assert anthropic.read_start(event) is None


def test_declined_attempt_is_billed_if_it_had_begun_to_answer():
    declined = {"type": "message", "model": "claude-fable-5", "input_tokens": 412, "output_tokens": 0}
    served = {"type": "fallback_message", "model": "claude-opus-4-8", "input_tokens": 412, "output_tokens": 9}
    usage = {"input_tokens": 412, "output_tokens": 9, "iterations": [declined, served]}
    found = anthropic.read({"type": "message_delta"}, usage)
    assert (found.model, found.replaces, list(found.others)) == ("claude-opus-4-8", True, [])
    begun = anthropic.read({}, usage | {"iterations": [declined | {"output_tokens": 5}, served]})
    assert [(model, told[:2]) for model, told in begun.others] == [("claude-fable-5", (412, 5))]
    assert not anthropic.read({}, usage | {"iterations": [declined | {"output_tokens": 5}]}).others


def test_the_kinds_of_cache_writes_are_added_if_their_sum_is_missing():
    kinds = {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20}
    answer = {"type": "message", "model": "claude-sonnet-4-5", "usage": USAGE | {"cache_creation": kinds}}
    del answer["usage"]["cache_creation_input_tokens"]
    reader = reader_for(b"application/json", None)
    reader.feed(json.dumps(answer).encode())
    usage = reader.close(complete=True).usage
    assert (usage.input_tokens, usage.cache_write_tokens, usage.details) == (43, 30, {"cache_write_1h": 20})
