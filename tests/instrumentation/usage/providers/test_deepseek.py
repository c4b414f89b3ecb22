from keygauge.usage.providers import find, names


def test_cache_hits_are_part_of_the_prompt():
    usage = {"prompt_tokens": 10, "completion_tokens": 2, "prompt_cache_hit_tokens": 8, "prompt_cache_miss_tokens": 2}
    ((told, *_),) = find({"model": "deepseek-chat", "usage": usage})
    assert told[:3] == (10, 2, 8)


def test_models_are_recognized_by_name():
    assert [names.provider_of(name) for name in ("deepseek-chat", "deepseek-reasoner")] == ["deepseek"] * 2
