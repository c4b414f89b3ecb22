import pytest

from keygauge_keyservice.pricing.public_models import find_model


@pytest.mark.parametrize(
    ("provider", "names"),
    [
        ("openai", ["gpt-4o", "GPT-4o", "openai/gpt-4o", "models/gpt-4o", "gpt-4o:online"]),
        ("anthropic", ["claude-3-5-haiku-20241022", "anthropic/claude-3-5-haiku-20241022"]),
        ("aws.bedrock", ["us.anthropic.claude-3-haiku-20240307-v1:0", "anthropic.claude-3-haiku-20240307-v1:0"]),
        (None, ["gpt-4o", "publishers/google/models/gemini-2.5-pro", "google/gemini-2.5-pro"]),
    ],
)
def test_a_model_is_found_by_the_names_that_hosts_use(provider, names):
    assert {name: find_model(provider, name) is not None for name in names} == dict.fromkeys(names, True)


def test_different_names_of_a_model_find_the_same_model():
    spellings = (("openai", "gpt-4o"), (None, "gpt-4o"), ("x", "models/gpt-4o"), ("azure", "gpt-4o:online"))
    found = {find_model(*spelling).id for spelling in spellings}
    assert len(found) == 1


def test_self_hosted_and_unknown_models_have_no_price():
    assert find_model("ollama", "gpt-4o") is None
    for name in ("", "no-such-model", "/", ":", "x" * 129, "gpt-4o" + "/" * 100, "us.us.us."):
        assert find_model("openai", name) is None
