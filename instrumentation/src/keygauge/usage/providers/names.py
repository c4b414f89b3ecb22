"""Whose a model is, by its own name: many speak OpenAI's shape and some Anthropic's, so a shape tells little."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from keygauge.usage.providers import (
    anthropic,
    azure,
    bedrock,
    cerebras,
    cohere,
    deepseek,
    gemini,
    groq,
    mistral,
    moonshot,
    openai,
    openrouter,
    perplexity,
    xai,
    zai,
)

_FAMILIES: Final = {
    one.MODELS: one.PROVIDER
    for one in (openai, anthropic, gemini, deepseek, xai, mistral, cohere, moonshot, perplexity, zai)
}
_PREFIXES: Final = {  # what gateways write before a model's name
    "openai": openai.PROVIDER,
    "azure": azure.PROVIDER,
    "anthropic": anthropic.PROVIDER,
    "bedrock": bedrock.PROVIDER,
    "google": gemini.PROVIDER,
    "gemini": gemini.PROVIDER,
    "vertex_ai": "gcp.vertex_ai",
    "deepseek": deepseek.PROVIDER,
    "x-ai": xai.PROVIDER,
    "xai": xai.PROVIDER,
    "mistral": mistral.PROVIDER,
    "mistralai": mistral.PROVIDER,
    "cohere": cohere.PROVIDER,
    "groq": groq.PROVIDER,
    "perplexity": perplexity.PROVIDER,
    "moonshotai": moonshot.PROVIDER,
    "z-ai": zai.PROVIDER,
    "zai": zai.PROVIDER,
    "cerebras": cerebras.PROVIDER,
    "openrouter": openrouter.PROVIDER,
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
    (re.compile(r"^/anthropic/"), anthropic.PROVIDER),
)
_is_of_several = re.compile(r"/openai/v1/").search  # Azure's path, Groq's, Bedrock's and that of gateways
_SPOKEN: Final = frozenset({openai.PROVIDER, anthropic.PROVIDER})  # shapes that others use too


@lru_cache(maxsize=1024)  # an app serves a few models; hostile names only push each other out
def provider_of(model: str) -> str | None:
    """Return whose a model is; None where its name does not tell."""
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
def provider_of_path(path: str, model: str | None = None) -> str | None:
    """Return whose API a path is of, where it is one that only one provider has.

    One that several have is Azure's where the model has a name of OpenAI's own.
    """
    if _is_of_several(path):
        is_own = model is not None and "/" not in model and provider_of(model) == openai.PROVIDER
        return azure.PROVIDER if is_own else None
    return next((provider for pattern, provider in _PATHS if pattern.search(path)), None)


def settle(shape: str | None, model: str | None) -> str | None:
    """Return an answer's provider from its shape and model; the model's name wins where others use the shape too."""
    return ((provider_of(model) if model else None) or shape) if shape in _SPOKEN else shape
