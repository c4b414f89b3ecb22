"""Azure's answers, recognized by their prompt filter results."""

import pytest

from keygauge.usage.providers import azure, find_host


@pytest.mark.parametrize(
    ("found", "host"), [([{"prompt_index": 0, "content_filter_results": {}}], azure.PROVIDER), ([], None), (None, None)]
)
def test_prompt_filter_results_mean_azure(found, host):
    assert find_host({"model": "gpt-4o", "prompt_filter_results": found}) == host
