from keygauge.usage.providers import find
from keygauge.usage.providers.self_hosted import llama_cpp


def test_counts_are_final_unless_the_chunk_says_more_follow():
    document = {"tokens_evaluated": 9, "tokens_predicted": 4, "timings": {"cache_n": 5}, "model": "qwen3"}
    found = llama_cpp.read(document)
    assert (found.raw[:3], found.stage, found.model, found.provider) == ((9, 4, 5), "final", "qwen3", None)
    assert [llama_cpp.read(document | {"stop": stop}).stage for stop in (True, False)] == ["final", "running"]


def test_older_servers_report_no_cache():
    assert llama_cpp.read({"tokens_evaluated": 9, "timings": None}).raw[:3] == (9, None, None)


def test_cached_tokens_are_read_from_chat_timings():
    usage = {"prompt_tokens": 68, "completion_tokens": 10}
    (found,) = find({"model": "m", "choices": [], "usage": usage, "timings": {"cache_n": 60, "prompt_n": 8}})
    assert found.raw[:3] == (68, 10, 60)
