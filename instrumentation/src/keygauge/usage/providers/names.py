"""The provider of a model, by the model's name: many use OpenAI's shape and some Anthropic's, so shapes say little."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from keygauge.usage.model_name import name_of
from keygauge.usage.providers import (
    anthropic,
    azure,
    bedrock,
    cerebras,
    cloudflare,
    cohere,
    deepseek,
    gemini,
    groq,
    mistral,
    moonshot,
    openai,
    openrouter,
    perplexity,
    replicate,
    watsonx,
    xai,
    zai,
)

# Each provider is a file and a word here. If a model's name fits several, the first one counts.
_PROVIDERS: Final = (
    *(openai, anthropic, gemini, deepseek, xai, mistral, cohere, moonshot, perplexity, zai, cloudflare, azure, bedrock),
    *(cerebras, groq, openrouter, replicate, watsonx),
)
_FAMILIES: Final[dict[tuple[str, ...], str]] = {
    one.MODELS: one.PROVIDER for one in _PROVIDERS if hasattr(one, "MODELS")
}
_PREFIXES: Final[dict[str, str]] = {  # prefixes that gateways add to a model's name
    **{prefix: one.PROVIDER for one in _PROVIDERS for prefix in one.PREFIXES},
    "vertex_ai": "gcp.vertex_ai",
    "together": "together",
    "together_ai": "together",
    "fireworks": "fireworks",
    "fireworks_ai": "fireworks",
    "ollama": "ollama",
}
_PATHS: Final = (
    (re.compile(r"/openai/deployments/"), azure.PROVIDER),
    (re.compile(r"/publishers/[^/]+/models/"), "gcp.vertex_ai"),
    (re.compile(r"/endpoints/openapi/|/locations/[^/]+/endpoints/[^/]"), "gcp.vertex_ai"),
    (re.compile(r"/v1(?:alpha|beta)\d*/models/[^/]+:"), gemini.PROVIDER),
    (re.compile(r"/model/[^/]+/(?:converse|invoke)"), bedrock.PROVIDER),
    (re.compile(r"/(?:ai/run|workers-ai)/@|/accounts/[^/]+/ai/v1/"), cloudflare.PROVIDER),
    (re.compile(r"/ml/v1/(?:text|deployments)/"), watsonx.PROVIDER),
    (re.compile(r"/v1/(?:models|deployments)/[^/]+/[^/]+/predictions$"), replicate.PROVIDER),
)
_is_of_several = re.compile(r"/openai/v1/|^/openai/(?:responses|realtime)").search  # of Azure, Groq, Bedrock, gateways
_SPOKEN: Final = frozenset({openai.PROVIDER, anthropic.PROVIDER})  # shapes that other providers use too


@lru_cache(maxsize=1024)  # an app uses few models; hostile names only evict each other
def provider_of(model: str) -> str | None:
    """Return a model's provider; None if its name does not show it."""
    name = model.lower()
    if bedrock.is_model(name):
        return bedrock.PROVIDER
    prefix, slash, rest = name.partition("/")
    if slash and prefix in _PREFIXES:
        return _PREFIXES[prefix]
    if name.startswith("accounts/fireworks/"):
        return "fireworks"
    own = rest if slash and "/" not in rest else name
    return next((provider for families, provider in _FAMILIES.items() if own.startswith(families)), None)


@lru_cache(maxsize=1024)
def known(model: str) -> tuple[str | None, str | None]:
    """Return the name that a model's calls are counted as, and its provider."""
    name = name_of(model)
    return name, provider_of(name) if name else None


@lru_cache(maxsize=1024)
def provider_of_path(path: str, model: str | None = None) -> str | None:
    """Return the provider of the API with a path; None if several providers have that path.

    A path of several is Azure's if the model has one of OpenAI's own names. DeepSeek and others serve Anthropic's path.
    """
    if path.startswith("/anthropic/"):
        return (provider_of(model) if model else None) or anthropic.PROVIDER
    if _is_of_several(path):
        is_own = model is not None and "/" not in model and provider_of(model) == openai.PROVIDER
        return azure.PROVIDER if is_own else None
    return next((provider for pattern, provider in _PATHS if pattern.search(path)), None)


def settle(shape: str | None, model: str | None) -> str | None:
    """Return an answer's provider from its shape and model; the model wins if several providers use the shape."""
    return ((provider_of(model) if model else None) or shape) if shape in _SPOKEN else shape
