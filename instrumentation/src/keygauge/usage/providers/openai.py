"""OpenAI: Chat Completions, Completions, Embeddings, Responses; and all who speak them (Mistral, vLLM, llama.cpp).

https://platform.openai.com/docs/api-reference/chat/object and …/responses/object
"""

from __future__ import annotations

from typing import Any

from keygauge.usage.counts import Usage
from keygauge.usage.providers import mistral
from keygauge.usage.providers.found import Found, Stage
from keygauge.usage.providers.model import name_of

PROVIDER = "openai"
_NO_DETAILS: dict[str, Any] = {}


def read_chat(document: dict[str, Any], usage: dict[str, Any]) -> Found:
    """Read `prompt_tokens` and `completion_tokens`: they include cached and reasoning tokens."""
    model = name_of(document.get("model"))
    prompt_details = _details(usage, "prompt_tokens_details")
    output = usage.get("completion_tokens")
    reasoning = _details(usage, "completion_tokens_details").get("reasoning_tokens")
    if reasoning:
        output = _whole_output(usage, output, reasoning)
    return Found(
        Usage(
            usage.get("prompt_tokens"),
            output,
            prompt_details.get("cached_tokens"),
            prompt_details.get("cache_write_tokens"),
            reasoning,
        ),
        mistral.PROVIDER if mistral.is_shape(usage, model) else PROVIDER,
        model,
        _stage(document),
    )


def read_response(document: dict[str, Any], usage: dict[str, Any]) -> Found:
    """Read `input_tokens` and `output_tokens` of a Responses object, an image or a transcription."""
    input_details = _details(usage, "input_tokens_details")
    return Found(
        Usage(
            usage.get("input_tokens"),
            usage.get("output_tokens"),
            input_details.get("cached_tokens"),
            input_details.get("cache_write_tokens"),
            _details(usage, "output_tokens_details").get("reasoning_tokens"),
        ),
        PROVIDER if "total_tokens" in usage else None,
        name_of(document.get("model")),
        "final",
    )


def read_envelope(event: dict[str, Any]) -> Found | None:
    """Read the object in `response.completed`, `.incomplete` and `.failed`; in earlier events its usage is null."""
    response = event.get("response")
    if not isinstance(response, dict) or not isinstance(usage := response.get("usage"), dict):
        return None
    return read_response(response, usage)


def _details(usage: dict[str, Any], name: str) -> dict[str, Any]:
    details = usage.get(name)
    return details if isinstance(details, dict) else _NO_DETAILS


def _whole_output(usage: dict[str, Any], output: Any, reasoning: Any) -> Any:
    # xAI tells reasoning tokens beside completion_tokens; its total gives that away.
    prompt, total = usage.get("prompt_tokens"), usage.get("total_tokens")
    if not type(prompt) is type(output) is type(total) is type(reasoning) is int:
        return output
    return output + reasoning if total == prompt + output + reasoning else output


def _stage(document: dict[str, Any]) -> Stage:
    # vLLM can tell counts in every chunk. The last has no choices, or, elsewhere, choices that are finished.
    choices = document.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if not isinstance(choice, dict) or not choice.get("finish_reason"):
            return "running"
    return "final"
