from keygauge.usage.providers import mistral


def test_audio_seconds_are_returned_only_if_there_was_audio():
    tokens = {"prompt_tokens": 3, "completion_tokens": 4}
    for nothing in (None, 0):
        assert mistral.seconds_of(tokens | {"prompt_audio_seconds": nothing}) is None
    assert mistral.seconds_of(tokens) is None
    assert mistral.seconds_of(tokens | {"prompt_audio_seconds": 12}) == 12


def test_empty_seconds_mean_none_only_if_the_total_has_nothing_more():
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "prompt_audio_seconds": {}}
    assert mistral.seconds_of(usage | {"total_tokens": 7}) is None
    assert mistral.seconds_of(usage | {"total_tokens": 400}) == {}  # reported as an invalid count
    assert mistral.seconds_of(usage) == {}


def test_connector_calls_are_counted_by_kind():
    connectors = {"web_search": 1, "web_search_premium": 2, "image_generation": 1, "their_own": 3}
    assert mistral.calls_of({"connectors": connectors}) == {"web_searches": 3, "images": 1, "tool_calls": 3}
    assert mistral.calls_of({"connectors": None}) == mistral.calls_of({}) == {}


def test_only_ocr_reports_pages():
    found = mistral.read_pages({"model": "mistral-ocr-latest", "usage_info": {"pages_processed": 2}})
    assert (found.raw.details, found.model, found.stage) == ({"pages": 2}, "mistral-ocr-latest", "final")
    for usage in (None, {}, {"pages_processed": None}, [2]):
        assert mistral.read_pages({"usage_info": usage}) is None


def test_model_of_a_conversation_is_found_in_its_outputs():
    outputs = [{"type": "tool.execution"}, None, {"type": "message.output", "model": "mistral-medium-2505"}]
    assert mistral.model_in({"outputs": outputs}) == "mistral-medium-2505"
    for nothing in (None, "x", {}, [], [3], [{"model": 3}], [{"text": "x"}]):
        assert mistral.model_in({"outputs": nothing}) is None
