from keygauge.usage.provider_rules import ProviderRules


def test_longest_pattern_wins_in_any_order():
    pairs = [("/v1/*", "openai"), ("/v1/chat/*", "deepseek"), ("/v1/chat/completions", "groq")]
    for rules in (ProviderRules(pairs), ProviderRules(reversed(pairs))):
        assert [rules.find_named("", path) for path in ("/v1/chat/completions", "/v1/chat/x", "/v1/x", "/x")] == [
            *("groq", "deepseek", "openai", None)
        ]


def test_pattern_without_a_star_matches_exactly():
    rules = ProviderRules([("/v1/chat", "groq")])
    assert (rules.find_named("/v1/chat", "/x"), rules.find_named("/x", "/v1/chat")) == ("groq", "groq")
    assert rules.find_named("/v1/chat/", "/v1/chats") is None


def test_plan_rules_precede_service_rules_and_the_path():
    rules, own = ProviderRules([("/model/*", "groq")]), ProviderRules([("/model/a/converse", "xai")])
    assert rules.find("", "/model/a/converse", own) == "xai"
    assert rules.find("", "/model/b/converse", own) == "groq"
    assert ProviderRules().find("", "/model/b/converse", own) == "aws.bedrock"


def test_model_decides_for_a_path_that_several_providers_have():
    path, rules = "/openai/v1/chat/completions", ProviderRules()
    for model, provider in (
        *(("gpt-4o", "azure.ai.openai"), ("openai.gpt-oss-120b-1:0", None), ("llama-3.3-70b-versatile", None)),
        *(("openai/gpt-oss-20b", None), (None, None)),
    ):
        assert rules.find("", path, None, model) == provider
    assert rules.of_request("", path, "openai.gpt-oss-120b-1:0") == "aws.bedrock"
    assert rules.of_request("", path, "gpt-4o") == "azure.ai.openai"


def test_requested_model_decides_if_nothing_else_does():
    rules = ProviderRules([("/v1/chat", "groq")])
    assert rules.of_request("", "/v1/chat", "claude-sonnet-4") == "groq"
    assert rules.of_request("", "/v1/messages", "claude-sonnet-4") == "anthropic"
    assert rules.of_request("", "/v1/messages", "my-own") is None
