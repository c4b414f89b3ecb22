from keygauge.usage.providers import find, groq

USAGE = {"prompt_tokens": 4, "completion_tokens": 3}


def test_usage_of_a_stream_is_in_x_groq():
    assert groq.usage_of({"x_groq": {"id": "req_1", "usage": USAGE}}) == USAGE
    assert find({"x_groq": {"usage": USAGE}, "choices": []})[0].raw[:2] == (4, 3)


def test_x_groq_that_is_not_an_object_has_no_usage():
    for told in (None, "x", [], {}, {"usage": None}, {"usage": [4, 3]}):
        assert groq.usage_of({"x_groq": told}) is None
    assert groq.usage_of({}) is None


def test_each_model_called_by_a_compound_system_is_counted():
    calls = [{"model": "a", "usage": USAGE}, {"model": "b", "usage": {"prompt_tokens": 9}}, "x", {"model": "c"}]
    breakdown = {"usage_breakdown": {"models": calls}}
    told = [("a", USAGE), ("b", {"prompt_tokens": 9})]
    assert groq.calls_in(breakdown) == groq.calls_in({"x_groq": breakdown}) == told
    (found,) = find({"model": "groq/compound", "usage": {"prompt_tokens": 13, "completion_tokens": 3}, **breakdown})
    assert (found.model, found.raw[:2]) == ("b", (9, None))
    assert [(model, raw[:2]) for model, raw in found.others] == [("a", (4, 3))]
    for nothing in ({}, {"usage_breakdown": None}, {"x_groq": {"usage_breakdown": {"models": {}}}}):
        assert groq.calls_in(nothing) == []
