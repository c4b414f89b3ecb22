from keygauge.usage.provider_rules import ProviderRules


def test_the_longest_pattern_wins_whatever_the_order():
    pairs = [("/v1/*", "openai"), ("/v1/chat/*", "deepseek"), ("/v1/chat/completions", "groq")]
    for rules in (ProviderRules(pairs), ProviderRules(reversed(pairs))):
        assert [rules.find_named("", path) for path in ("/v1/chat/completions", "/v1/chat/x", "/v1/x", "/x")] == [
            *("groq", "deepseek", "openai", None)
        ]


def test_without_a_star_only_the_same_place_is_meant():
    rules = ProviderRules([("/v1/chat", "groq")])
    assert (rules.find_named("/v1/chat", "/x"), rules.find_named("/x", "/v1/chat")) == ("groq", "groq")
    assert rules.find_named("/v1/chat/", "/v1/chats") is None


def test_a_plans_own_rules_come_first_then_these_then_the_path():
    rules, own = ProviderRules([("/model/*", "groq")]), ProviderRules([("/model/a/converse", "xai")])
    assert rules.find("", "/model/a/converse", own) == "xai"
    assert rules.find("", "/model/b/converse", own) == "groq"
    assert ProviderRules().find("", "/model/b/converse", own) == "aws.bedrock"


def test_a_path_that_several_have_is_told_by_the_model():
    path, rules = "/openai/v1/chat/completions", ProviderRules()
    for model, provider in (
        *(("gpt-4o", "azure.ai.openai"), ("openai.gpt-oss-120b-1:0", None), ("llama-3.3-70b-versatile", None)),
        *(("openai/gpt-oss-20b", None), (None, None)),
    ):
        assert rules.find("", path, None, model) == provider
    assert rules.of_request("", path, "openai.gpt-oss-120b-1:0") == "aws.bedrock"
    assert rules.of_request("", path, "gpt-4o") == "azure.ai.openai"


def test_the_model_of_a_request_tells_where_nothing_else_does():
    rules = ProviderRules([("/v1/chat", "groq")])
    assert rules.of_request("", "/v1/chat", "claude-sonnet-4") == "groq"
    assert rules.of_request("", "/v1/messages", "claude-sonnet-4") == "anthropic"
    assert rules.of_request("", "/v1/messages", "my-own") is None
