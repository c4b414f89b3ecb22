from keygauge_keyservice.pricing.cost import is_metered


def test_a_call_is_metered_if_any_usage_is_known(make_event):
    nothing = {"input_tokens": None, "output_tokens": None, "details": None}
    assert not is_metered(make_event(**nothing))
    assert not is_metered(make_event(**nothing | {"details": {}}))
    for counts in ({"input_tokens": 0}, {"output_tokens": 1}, {"details": {"images": 1}}):
        assert is_metered(make_event(**nothing | counts))
