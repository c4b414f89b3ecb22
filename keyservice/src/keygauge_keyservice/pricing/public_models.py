"""Search for a model in the public price list by the name that a response or request has for it.

The provider of a call is uncertain: a host with OpenAI's API need not be OpenAI, and gateways put the provider before
the model's name. So the given provider is only tried first, then those in the name's prefix, then the model's maker,
then all others. All of them are tried with the full name first, and then without the prefixes and suffixes that hosts
add.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from genai_prices.data_snapshot import find_provider_by_id, get_snapshot
from genai_prices.types import ModelInfo, Provider

SELF_HOSTED = frozenset({"ollama", "llama_cpp", "vllm", "sglang", "tgi", "self_hosted"})  # have no public prices
_RESELLERS = frozenset({"openrouter", "novita", "quicksilverpro", "github-copilot"})  # tried last
_NAME_MAX = 128  # characters; more than twice the longest name in the list
_SPELLINGS_MAX = 8
_PATH = re.compile(r"^(?:models|publishers/[^/]+/models|accounts/[^/]+/(?:models|deployments)|projects/.+/models)/")
_REGION = re.compile(r"^(?:us|eu|apac|au|jp|us-gov|global)\.(?=[a-z0-9-]+\.)")  # Bedrock's inference profiles
_MAKER = re.compile(
    r"^(?:[a-z0-9_-]+/|(?:ai21|amazon|anthropic|cohere|deepseek|google|meta|minimax|mistral|moonshot|nvidia|openai|qwen|writer|zai)\.)"
)
_SUFFIX = re.compile(r"(?::[a-z][a-z_-]*|-v\d+:\d+(?::\d+k)?|@[a-z0-9-]+)$")  # ":online", "-v1:0", "@20250514"


def find_model(provider_name: str | None, model_name: str) -> ModelInfo | None:
    """Return a model, or None if no provider has one of that name."""
    if len(model_name) > _NAME_MAX or provider_name in SELF_HOSTED:
        return None
    providers = get_snapshot().providers
    names = _spellings(model_name.lower())
    candidates = {provider.id: provider for provider in _candidates(providers, provider_name, names)}.values()
    found = (provider.find_model(name, all_providers=providers) for name in names for provider in candidates)
    return next((model for model in found if model), None)


def _candidates(providers: list[Provider], named: str | None, names: Sequence[str]) -> Iterator[Provider]:
    """Yield the providers to try, most likely first; some more than once."""
    for name in (named, *names[0].split("/")[:-1]):
        if name and (provider := find_provider_by_id(providers, name)):
            yield provider
    for name in names:
        yield from (one for one in providers if one.model_match and one.model_match.is_match(name))
    yield from (one for one in providers if one.id not in _RESELLERS)
    yield from providers


def _spellings(name: str) -> list[str]:
    """Return a name and its variants without prefixes and suffixes, the full name first."""
    names = [name]
    for taken in names:  # grows during iteration; each added name is shorter
        left = (part.sub("", taken) for part in (_PATH, _REGION, _MAKER, _SUFFIX))
        names += [one for one in dict.fromkeys(left) if one and one not in names]
        if len(names) >= _SPELLINGS_MAX:
            break
    return names
