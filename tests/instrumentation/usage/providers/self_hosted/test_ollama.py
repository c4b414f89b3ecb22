from keygauge.usage.providers.self_hosted import ollama


def test_counts_are_final_in_the_last_line():
    line = {"model": "llama3", "prompt_eval_count": 9, "eval_count": 4}
    assert [ollama.read(line | {"done": done}).stage for done in (True, False)] == ["final", "running"]
    assert (ollama.read(line).raw[:2], ollama.read(line).model) == ((9, 4), "llama3")


def test_missing_counts_are_not_0():
    assert ollama.read({"eval_count": 4, "done": True}).raw[:2] == (None, 4)  # the whole prompt was cached
    assert ollama.read({"prompt_eval_count": 9}).raw[:2] == (9, None)  # an embedding
