from keygauge.usage.providers import cohere


def test_billed_units_take_precedence_over_tokens():
    usage = {
        "billed_units": {"input_tokens": 5, "output_tokens": 2},
        "tokens": {"input_tokens": 70},
        "cached_tokens": 1,
    }
    assert cohere.read(usage).raw[:3] == (5, 2, 1)
    assert cohere.read({"billed_units": {}, "tokens": {"input_tokens": 70, "output_tokens": 3}}).raw[:2] == (70, 3)
    assert cohere.read({"billed_units": None, "tokens": []}) is None


def test_units_billed_by_piece_are_counted_by_kind():
    units = {"search_units": 1, "images": 0, "classifications": 4}
    assert cohere.read({"billed_units": units}).raw.details == {"search_units": 1, "classifications": 4}


def test_image_tokens_are_added_to_text_input():
    for units, given in (({"input_tokens": 10, "image_tokens": 1600}, 1610), ({"image_tokens": 1600}, 1600)):
        told = cohere.read({"billed_units": units}).raw
        assert (told.input, told.details) == (given, {"input_image": 1600})


def test_usage_is_found_in_each_versions_place():
    usage = {"billed_units": {"input_tokens": 5, "output_tokens": 2}}
    for found in (
        cohere.read_end({"delta": {"usage": usage}}),
        cohere.read_meta({"meta": usage}),
        cohere.read_stream_end({"response": {"meta": usage}}),
    ):
        assert (found.raw[:2], found.provider, found.stage) == ((5, 2), "cohere", "final")


def test_document_without_usage_in_that_place_has_none():
    for nothing in (None, [], "x", {}, {"usage": 3}, {"tokens": {"input_tokens": 1}}):
        assert cohere.read_end({"delta": nothing}) is None
        assert cohere.read_meta({"meta": nothing}) is None  # version 1: `tokens` alone are not billed
        assert cohere.read_stream_end({"response": {"meta": nothing}}) is None
        assert cohere.read_stream_end({"response": nothing}) is None
