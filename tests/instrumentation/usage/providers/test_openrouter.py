"""OpenRouter's usage, by who bills it."""

import pytest

from keygauge.usage.providers import find_host, openrouter


@pytest.mark.parametrize(
    ("usage", "host"), [({"is_byok": False}, openrouter.PROVIDER), ({"is_byok": True}, None), ({}, None), (None, None)]
)
def test_a_call_is_openrouters_unless_it_is_billed_by_the_models_maker(usage, host):
    assert find_host({"model": "openai/gpt-4o", "usage": usage}) == host
