from keygauge.usage.providers import bedrock


def test_model_ids_start_with_the_maker_and_a_dot():
    assert all(map(bedrock.is_model, ["anthropic.claude-3", "us.anthropic.claude-3", "eu.meta.llama3", "qwen.qwen3"]))
    assert not any(
        map(bedrock.is_model, ["claude-3", "anthropic/claude", "gpt-4.1", "", "eu.us.meta.llama3", "acme.x"])
    )


def test_input_excludes_cached_tokens_unless_the_total_shows_otherwise():
    usage = {"inputTokens": 10, "outputTokens": 5, "cacheReadInputTokens": 6}
    assert bedrock.read(usage | {"totalTokens": 21}).cache_is_beside
    assert bedrock.read(usage).cache_is_beside
    assert not bedrock.read(usage | {"totalTokens": 15}).cache_is_beside
    assert bedrock.read(usage | {"cacheReadInputTokens": 11, "totalTokens": 15}).cache_is_beside  # cannot be part of 10


def test_nova_invoke_model_has_its_own_cache_member_names():
    told = bedrock.read({"inputTokens": 1, "cacheReadInputTokenCount": 2, "cacheWriteInputTokenCount": 3}).raw
    assert told[:4] == (1, None, 2, 3)


def test_only_one_hour_cache_writes_count_as_such():
    kept = [{"ttl": "1h", "inputTokens": 4}, {"ttl": "5m", "inputTokens": 9}, {"ttl": "1h", "inputTokens": 1}, None]
    assert bedrock.read({"inputTokens": 1, "cacheDetails": kept}).raw.details == {"cache_write_1h": 5}
    for nothing in (None, [], "x", [{"ttl": "5m", "inputTokens": 9}]):
        assert bedrock.read({"inputTokens": 1, "cacheDetails": nothing}).raw.details == {}


def test_titan_results_are_added_up():
    document = {"inputTextTokenCount": 7, "results": [{"tokenCount": 3}, {"tokenCount": 4}, None]}
    assert bedrock.read_titan(document).raw[:2] == (7, 7)
    assert bedrock.read_titan({"inputTextTokenCount": 7, "results": [{"tokenCount": "x"}]}).raw.output == "x"
    assert bedrock.read_titan({"inputTextTokenCount": 7, "totalOutputTextTokenCount": 9}).raw[:2] == (7, 9)
    assert bedrock.read_titan({"inputTextTokenCount": 7}).raw[:2] == (7, None)  # an embedding


def test_llama_reports_counts_so_far_until_it_stops():
    chunk = {"prompt_token_count": 3, "generation_token_count": 1, "stop_reason": None}
    assert bedrock.read_llama(chunk).stage == "running"
    assert bedrock.read_llama(chunk | {"stop_reason": "stop"}).stage == "final"


def test_events_without_counts_have_no_usage():
    assert bedrock.read_metadata({"metadata": {"usage": {"inputTokens": 3, "outputTokens": 1}}}).raw[:2] == (3, 1)
    for event in ({}, {"metadata": []}, {"metadata": {"usage": 1}}, {"metadata": {"usage": {"input": 1}}}):
        assert bedrock.read_metadata(event) is None
    metrics = {"inputTokenCount": 3, "outputTokenCount": 2, "cacheReadInputTokenCount": 1}
    found = bedrock.read_metrics({"amazon-bedrock-invocationMetrics": metrics})
    assert found.raw[:4] == (3, 2, 1, None)
    assert found.cache_is_beside
    assert bedrock.read_metrics({"amazon-bedrock-invocationMetrics": 3}) is None


def test_images_are_counted_if_the_answer_has_nothing_else():
    for image in ("iVBORw0KGgoAAAA", "/9j/4AAQ", "UklGRh4A", ""):  # the data of a large one is left out
        assert bedrock.read_images({"images": [image, image], "error": None}).raw.details == {"images": 2}
    for others in (None, [], "iVBOR", ["a.png"], ["https://example.com/a.png"], [{"url": "x"}], ["iVBOR", 3]):
        assert bedrock.read_images({"images": others}) is None
