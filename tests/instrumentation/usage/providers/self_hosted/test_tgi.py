from keygauge.usage.providers.self_hosted import tgi


def test_input_is_reported_or_counted_in_the_prefill():
    assert tgi.read({"details": {"generated_tokens": 5, "input_length": 3, "prefill": [{}]}}).raw[:2] == (3, 5)
    assert tgi.read({"details": {"generated_tokens": 5, "prefill": [{}, {}]}}).raw[:2] == (2, 5)
    for prefill in ([], None, "x"):  # not requested
        assert tgi.read({"details": {"generated_tokens": 5, "prefill": prefill}}).raw[:2] == (None, 5)


def test_other_details_are_not_recognized():
    for details in (None, "x", [], {}, {"input_length": 3}):
        assert tgi.read({"details": details}) is None
