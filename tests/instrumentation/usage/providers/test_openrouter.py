"""OpenRouter's usage, and who bills it."""

import pytest

from keygauge.usage.providers import find_host, openrouter


@pytest.mark.parametrize(
    ("usage", "host"), [({"is_byok": False}, openrouter.PROVIDER), ({"is_byok": True}, None), ({}, None), (None, None)]
)
def test_openrouter_is_the_provider_unless_the_models_maker_bills(usage, host):
    assert find_host({"model": "openai/gpt-4o", "usage": usage}) == host
