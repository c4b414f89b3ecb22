from keygauge.usage.providers import xai


def test_total_shows_whether_the_output_excludes_reasoning():
    usage = {"prompt_tokens": 10, "completion_tokens": 5}
    for model in (None, "grok-4", "o3"):
        assert xai.tells_reasoning_beside(model, usage | {"total_tokens": 35}, {"reasoning_tokens": 20})
        assert not xai.tells_reasoning_beside(model, usage | {"total_tokens": 15}, {"reasoning_tokens": 3})


def test_without_a_total_the_model_or_the_counts_decide():
    usage = {"prompt_tokens": 10, "completion_tokens": 5}
    assert xai.tells_reasoning_beside(None, usage, {"reasoning_tokens": 6})  # too many to be part of the output
    assert xai.tells_reasoning_beside("grok-4", usage, {"reasoning_tokens": 3})
    assert not xai.tells_reasoning_beside("o3", usage, {"reasoning_tokens": 3})
    for details in ({}, {"reasoning_tokens": 0}, {"reasoning_tokens": None}, {"reasoning_tokens": "x"}):
        assert not xai.tells_reasoning_beside("grok-4", usage, details)


def test_server_side_tool_uses_are_counted_by_kind():
    told = {"web_search_calls": 1, "x_search_calls": 2, "code_interpreter_calls": 1, "file_search_calls": 0}
    assert xai.tools_of({"server_side_tool_usage_details": told}) == {"web_searches": 3, "tool_calls": 1}
    assert xai.tools_of({"server_side_tool_usage_details": {}}) == {}
    assert xai.tools_of({}) is None
