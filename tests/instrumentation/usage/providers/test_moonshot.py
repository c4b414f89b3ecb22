from keygauge.usage.providers import find, names


def test_cached_tokens_next_to_the_prompt_tokens_are_read():
    usage = {"prompt_tokens": 10, "completion_tokens": 2, "cached_tokens": 8}
    ((told, *_),) = find({"model": "kimi-k2", "usage": usage})
    assert told[:3] == (10, 2, 8)


def test_usage_in_a_choice_of_the_last_chunk_is_read():
    usage = {"prompt_tokens": 10, "completion_tokens": 2}
    (found,) = find({"model": "kimi-k2", "choices": [{"finish_reason": "stop", "usage": usage}]})
    assert (found.raw[:2], found.stage) == ((10, 2), "final")
    assert names.provider_of(found.model) == "moonshot_ai"
