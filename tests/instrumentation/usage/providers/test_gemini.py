import json

from keygauge.usage import providers
from keygauge.usage.document import parse
from keygauge.usage.providers import gemini

USAGE = {"promptTokenCount": 20, "candidatesTokenCount": 5, "thoughtsTokenCount": 7, "totalTokenCount": 32}
DONE = [{"finishReason": "STOP"}]


def test_candidates_exclude_thoughts_and_the_prompt_includes_the_cache():
    found = gemini.read({"usageMetadata": USAGE | {"cachedContentTokenCount": 8}, "modelVersion": "gemini-2.5-pro"})
    assert found.raw[:5] == (20, 5, 8, None, 7)
    assert found.raw.total == 32
    assert (found.reasoning_is_beside, found.cache_is_beside, found.model) == (True, False, "gemini-2.5-pro")
    assert gemini.read({"usageMetadata": []}) is None


def test_only_elements_with_a_list_of_candidates_are_chunks_of_a_stream():
    chunks = [{"candidates": DONE}, {"candidates": []}]
    others = [{"candidates": None}, {"candidates": "two"}, {"usageMetadata": USAGE}, None]
    assert gemini.chunks_in([*others, *chunks]) == chunks
    assert gemini.chunks_in(chunks[0]) == gemini.chunks_in(None) == []


def test_counts_are_final_when_every_candidate_has_finished():
    def stage(candidates):
        return gemini.read({"usageMetadata": USAGE, "candidates": candidates}).stage

    assert stage(DONE) == "final"
    running = (None, [], [{}], [*DONE, {}], [*DONE, None], "x")
    assert [stage(candidates) for candidates in running] == ["running"] * len(running)
    assert gemini.read({"usageMetadata": USAGE, "serverContent": {"turnComplete": True}}).stage == "final"


def test_modalities_exclude_cached_tokens():
    usage = USAGE | {
        "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 10}, {"modality": "TEXT", "tokenCount": 10}],
        "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 4}],
        "toolUsePromptTokensDetails": [{"modality": "image", "tokenCount": 3}, None, {"modality": 3}],
        "candidatesTokensDetails": [{"modality": "VIDEO", "tokenCount": 2}],
    }
    assert gemini.read({"usageMetadata": usage}).raw.details == {
        "input_audio": 6,
        "input_image": 3,
        "cache_read_audio": 4,
        "output_video": 2,
    }


def test_snake_case_of_the_sdk_reads_the_same():
    camel = {"usageMetadata": USAGE, "modelVersion": "gemini-3-pro", "candidates": DONE}
    snake = {
        "usage_metadata": {
            "prompt_token_count": 20,
            "candidates_token_count": 5,
            "thoughts_token_count": 7,
            "total_token_count": 32,
        },
        "model_version": "gemini-3-pro",
        "candidates": [{"finish_reason": "STOP"}],
    }
    assert gemini.read_snake_case(snake) == gemini.read(camel)
    assert gemini.read_snake_case({"usage_metadata": {"input_tokens": 3}}) is None


def test_searches_are_billed_per_prompt_before_version_3():
    ground = {"groundingMetadata": {"webSearchQueries": ["a", "", "b"]}}

    def searches(model):
        document = {"usageMetadata": USAGE, "modelVersion": model, "candidates": [ground, None]}
        return gemini.read(document).raw.details.get("web_searches")

    assert [searches(model) for model in ("gemini-1.5-pro", "gemini-2.5-pro", "gemini-3-pro", None)] == [1, 1, 2, 2]


def test_vertex_embeddings_add_up_and_images_are_counted():
    text = {"embeddings": {"statistics": {"token_count": 4}}}
    found = gemini.read_predictions({"predictions": [text, text, {}], "metadata": {"billableCharacterCount": 30}})
    assert (found.raw.input, found.raw.details, found.provider) == (8, {"characters": 30}, "gcp.vertex_ai")
    images = [{"mimeType": "image/png", "bytesBase64Encoded": ""}] * 2
    assert gemini.read_predictions({"predictions": images}).raw.details == {"images": 2}
    for nothing in (None, [], [{}], [None], "x"):
        assert gemini.read_predictions({"predictions": nothing}) is None


def test_interaction_totals_are_read():
    usage = {"total_input_tokens": 9, "total_output_tokens": 3, "total_reasoning_tokens": 2}
    found = gemini.read_interaction({"model": "gemini-3-pro"}, usage | {"grounding_tool_count": [{"count": 2}, None]})
    assert found.raw[:5] == (9, 3, None, None, 2)
    assert found.raw.details == {"web_searches": 2}


def test_every_chunk_of_an_array_is_read():
    assert [found.raw.input for found in gemini.read_list([{"usageMetadata": USAGE}, None, {}])] == [20]


def test_only_a_complete_turn_ends_the_turn():
    assert gemini.ends_turn({"serverContent": {"turnComplete": True}})
    for document in ({}, None, [], {"serverContent": None}, {"serverContent": {"turnComplete": False}}):
        assert not gemini.ends_turn(document)


def test_answer_wrapped_by_code_assist_is_read():
    usage = {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15}
    answer = {"candidates": [{"finishReason": "STOP"}], "usageMetadata": usage, "modelVersion": "gemini-2.5-pro"}
    (found,) = providers.find(parse(json.dumps({"response": answer, "traceId": "t"}).encode()))
    assert (found.raw[:2], found.model, found.stage) == ((10, 5), "gemini-2.5-pro", "final")
