import pytest
from hypothesis import given
from hypothesis import strategies as st

from keygauge.settings.provider_rule import parse_rule


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("/v1/chat/*=deepseek", ("/v1/chat/*", "deepseek")),
        (" /v1/chat = azure.ai.openai ", ("/v1/chat", "azure.ai.openai")),
        ("/a=b=groq", ("/a=b", "groq")),
        ("/=x", ("/", "x")),
    ],
)
def test_rule_is_a_path_and_a_provider(text, rule):
    assert parse_rule(text) == rule


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/v1",
        "v1=x",
        "/v1=",
        "=x",
        "/v*1=x",
        "/a b=x",
        "/v1=a b",
        "/" + "v" * 200 + "=x",
        "/v1=" + "x" * 65,
        "/a\nb=x",
    ],
)
def test_invalid_rule_error_shows_the_format(text):
    with pytest.raises(ValueError, match="PATH=PROVIDER"):
        parse_rule(text)


@given(st.text())
def test_any_text_is_parsed_or_rejected(text):
    try:
        pattern, provider = parse_rule(text)
    except ValueError:
        return
    assert parse_rule(f"{pattern}={provider}") == (pattern, provider)
