"""watsonx.ai's own counts, of one or several results."""

import pytest

from keygauge.usage.providers import find, watsonx


@pytest.mark.parametrize("stop_reason", ["eos_token", "MAX_TOKENS", "NOT_FINISHED", "not_finished"])
def test_stream_is_final_with_a_stop_reason(stop_reason):
    results = [{"generated_token_count": 3, "input_token_count": 0, "stop_reason": stop_reason}]
    (found,) = find({"model_id": "ibm/granite", "results": results})
    assert found.stage == ("running" if stop_reason.lower() == "not_finished" else "final")
    assert (found.raw[:2], found.provider) == ((0, 3), watsonx.PROVIDER)


def test_results_are_added_up():
    results = [{"generated_token_count": 3, "input_token_count": 5}, {"generated_token_count": 4}]
    assert watsonx.read({"model_id": "ibm/granite", "results": results}).raw[:2] == (5, 7)


@pytest.mark.parametrize("document", [{"model_id": "a"}, {"results": [{"generated_token_count": 3}]}, {"results": "x"}])
def test_other_documents_have_none(document):
    assert watsonx.read(document) is None
