from keygauge.usage.providers import find, groq

USAGE = {"prompt_tokens": 4, "completion_tokens": 3}


def test_usage_of_a_stream_stands_in_a_field_of_its_own():
    assert groq.usage_of({"x_groq": {"id": "req_1", "usage": USAGE}}) == USAGE
    assert find({"x_groq": {"usage": USAGE}, "choices": []})[0].raw[:2] == (4, 3)


def test_where_it_is_no_object_it_tells_nothing():
    for told in (None, "x", [], {}, {"usage": None}, {"usage": [4, 3]}):
        assert groq.usage_of({"x_groq": told}) is None
    assert groq.usage_of({}) is None
