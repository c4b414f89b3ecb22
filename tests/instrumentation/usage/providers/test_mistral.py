from keygauge.usage.providers import mistral


def test_seconds_of_audio_are_told_only_where_there_was_audio():
    tokens = {"prompt_tokens": 3, "completion_tokens": 4}
    for nothing in (None, 0):
        assert mistral.seconds_of(tokens | {"prompt_audio_seconds": nothing}) is None
    assert mistral.seconds_of(tokens) is None
    assert mistral.seconds_of(tokens | {"prompt_audio_seconds": 12}) == 12


def test_empty_seconds_are_nothing_only_beside_a_total_that_has_no_more():
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "prompt_audio_seconds": {}}
    assert mistral.seconds_of(usage | {"total_tokens": 7}) is None
    assert mistral.seconds_of(usage | {"total_tokens": 400}) == {}  # told of as a count that cannot be
    assert mistral.seconds_of(usage) == {}


def test_connectors_are_counted_by_kind():
    connectors = {"web_search": 1, "web_search_premium": 2, "image_generation": 1, "their_own": 3}
    assert mistral.calls_of({"connectors": connectors}) == {"web_searches": 3, "images": 1, "tool_calls": 3}
    assert mistral.calls_of({"connectors": None}) == mistral.calls_of({}) == {}


def test_pages_are_told_by_ocr_alone():
    found = mistral.read_pages({"model": "mistral-ocr-latest", "usage_info": {"pages_processed": 2}})
    assert (found.raw.details, found.model, found.stage) == ({"pages": 2}, "mistral-ocr-latest", "final")
    for usage in (None, {}, {"pages_processed": None}, [2]):
        assert mistral.read_pages({"usage_info": usage}) is None


def test_a_conversation_names_its_model_in_what_it_says():
    outputs = [{"type": "tool.execution"}, None, {"type": "message.output", "model": "mistral-medium-2505"}]
    assert mistral.model_in({"outputs": outputs}) == "mistral-medium-2505"
    for nothing in (None, "x", {}, [], [3], [{"model": 3}], [{"text": "x"}]):
        assert mistral.model_in({"outputs": nothing}) is None
