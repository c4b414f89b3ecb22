from keygauge.usage.providers import find, perplexity


def test_output_of_its_models_excludes_reasoning():
    assert all(map(perplexity.tells_reasoning_beside, ["sonar-deep-research", "perplexity/sonar", "a/b/sonar-pro"]))
    assert not any(map(perplexity.tells_reasoning_beside, [None, "", "qwen3", "sonar/qwen3"]))


def test_citations_and_searches_are_separate_kinds():
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": 6,
        "reasoning_tokens": 100,
        "citation_tokens": 50,
        "num_search_queries": 3,
    }
    (found,) = find({"model": "sonar-deep-research", "usage": usage})
    assert (found.raw.reasoning, found.reasoning_is_beside) == (100, True)
    assert found.raw.details == {"citations": 50, "web_searches": 3}
    (other,) = find({"model": "qwen3", "usage": usage})  # SGLang: part of the completion
    assert not other.reasoning_is_beside
