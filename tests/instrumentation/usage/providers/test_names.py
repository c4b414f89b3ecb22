import pytest

from keygauge.usage.providers.names import provider_of, provider_of_path, settle


@pytest.mark.parametrize(
    ("provider", "models"),
    [
        ("openai", ["gpt-4o", "GPT-4o", "o3-mini", "openai/gpt-4o", "text-embedding-3-small", "ft:gpt-4o:acme"]),
        ("azure.ai.openai", ["azure/gpt-4o"]),
        ("anthropic", ["claude-sonnet-4", "anthropic/claude-3-opus"]),
        ("aws.bedrock", ["anthropic.claude-3-haiku-20240307-v1:0", "us.amazon.nova-pro-v1:0", "bedrock/x"]),
        ("gcp.gemini", ["gemini-2.5-pro", "models/gemini-2.5-pro", "google/gemini-2.5-flash"]),
        ("gcp.vertex_ai", ["vertex_ai/gemini-2.5-pro"]),
        ("deepseek", ["deepseek-chat", "deepseek/deepseek-r1"]),
        ("x_ai", ["grok-4", "x-ai/grok-4"]),
        ("mistral_ai", ["mistral-large-latest", "mistralai/mixtral-8x7b"]),
        ("fireworks", ["accounts/fireworks/models/llama-v3", "fireworks_ai/x"]),
        ("openrouter", ["openrouter/openai/gpt-4o"]),
        ("cloudflare", ["@cf/meta/llama-3.1-8b-instruct", "workers-ai/@cf/meta/llama"]),
        (None, ["", "llama-3", "my-own", "meta/llama-3", "a/b/gpt-4o", "/gpt", "mistral:7b"]),
    ],
)
def test_provider_is_recognized_by_model_name(provider, models):
    assert {model: provider_of(model) for model in models} == dict.fromkeys(models, provider)


@pytest.mark.parametrize(
    ("path", "provider"),
    [
        ("/openai/deployments/gpt-4o/chat/completions", "azure.ai.openai"),
        ("/v1/projects/p/locations/l/publishers/google/models/gemini-2.5-pro:generateContent", "gcp.vertex_ai"),
        ("/v1/projects/p/locations/l/endpoints/openapi/chat/completions", "gcp.vertex_ai"),
        ("/vertex/v1beta1/projects/p/locations/global/endpoints/123/chat/completions", "gcp.vertex_ai"),
        ("/v1/projects/p/locations/l/endpoints/123:predict", "gcp.vertex_ai"),
        ("/mine/endpoints/openapi/chat/completions", "gcp.vertex_ai"),
        ("/api/endpoints/123/chat/completions", None),
        ("/v1beta/models/gemini-2.5-pro:streamGenerateContent", "gcp.gemini"),
        ("/model/anthropic.claude-3/converse-stream", "aws.bedrock"),
        ("/anthropic/v1/messages", "anthropic"),
        ("/client/v4/accounts/a/ai/run/@cf/meta/llama-3.1-8b-instruct", "cloudflare"),
        ("/client/v4/accounts/a/ai/v1/chat/completions", "cloudflare"),
        ("/v1/a/gateway/workers-ai/@cf/meta/llama-3.1-8b-instruct", "cloudflare"),
        ("/ml/v1/text/generation_stream", "ibm.watsonx.ai"),
        ("/ml/v1/deployments/mine/text/chat", "ibm.watsonx.ai"),
        ("/v1/models/meta/meta-llama-3-70b-instruct/predictions", "replicate"),
        ("/v1/models/mine/predictions", None),
        ("/mine/anthropic/v1/messages", None),
        ("/v1/chat/completions", None),
        ("/v1beta/models/gemini-2.5-pro", None),
    ],
)
def test_provider_is_recognized_by_its_own_path(path, provider):
    assert provider_of_path(path) == provider


@pytest.mark.parametrize("path", ["/openai/responses", "/openai/realtime", "/openai/v1/chat/completions"])
def test_path_of_several_is_that_of_azure_for_its_models(path):
    assert provider_of_path(path, "gpt-4o") == "azure.ai.openai"
    assert provider_of_path(path, "openai/gpt-4o") is None
    assert provider_of_path(f"/v1beta{path.replace('/v1', '')}", "gpt-4o") is None


@pytest.mark.parametrize(
    ("model", "provider"), [("deepseek-chat", "deepseek"), ("claude-fable-5", "anthropic"), ("own", "anthropic")]
)
def test_anthropics_path_is_that_of_the_models_provider(model, provider):
    assert provider_of_path("/anthropic/v1/messages", model) == provider


def test_name_wins_over_shape_only_for_shared_shapes():
    assert settle("openai", "claude-sonnet-4") == "anthropic"
    assert settle("anthropic", "glm-4.6") == "zai"
    assert settle("openai", "my-own") == settle("openai", None) == "openai"
    assert settle("gcp.gemini", "gpt-4o") == "gcp.gemini"
    assert settle(None, "gpt-4o") is None
