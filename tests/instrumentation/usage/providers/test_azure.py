"""Azure's answers, by what its filters found in the prompt."""

import pytest

from keygauge.usage.providers import azure, find_host


@pytest.mark.parametrize(
    ("found", "host"), [([{"prompt_index": 0, "content_filter_results": {}}], azure.PROVIDER), ([], None), (None, None)]
)
def test_filtered_prompts_are_azures(found, host):
    assert find_host({"model": "gpt-4o", "prompt_filter_results": found}) == host
