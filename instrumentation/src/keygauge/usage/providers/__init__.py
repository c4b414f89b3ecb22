"""The documents of each provider, told apart by the shape of their usage."""

from __future__ import annotations

from typing import Any

from keygauge.usage.providers import anthropic, bedrock, cohere, gemini, llama_cpp, ollama, openai
from keygauge.usage.providers.found import Found, Stage
from keygauge.usage.providers.model import name_of

__all__ = ["Found", "Stage", "find", "find_model", "is_error"]


def find(document: object) -> Found | None:
    """Find the usage in a parsed document; None when it tells none."""
    if isinstance(document, dict):
        return _find_outside(document) or _find_inside(document)
    if isinstance(document, list):
        return gemini.read_list(document)
    return None


def find_model(document: object) -> str | None:
    """Find the model's name in a document without usage."""
    if not isinstance(document, dict):
        return None
    for holder in (document, document.get("message"), document.get("response")):
        if isinstance(holder, dict) and (model := name_of(holder.get("model") or holder.get("modelVersion"))):
            return model
    return None


def is_error(document: object) -> bool:
    """Tell whether a document of a stream stands where the answer's rest should: each provider's word for "failed".

    `error` is OpenAI's, Gemini's and Ollama's, the type "error" Anthropic's and that of OpenAI's Responses.
    """
    if not isinstance(document, dict):
        return False
    error = document.get("error")
    return (isinstance(error, dict | str) and bool(error)) or document.get("type") in ("error", "response.failed")


def _find_outside(document: dict[str, Any]) -> Found | None:
    usage = document.get("usage")
    if isinstance(usage, dict):
        return _find_usage(document, usage)
    if "usageMetadata" in document:
        return gemini.read(document)
    if "eval_count" in document or "prompt_eval_count" in document:
        return ollama.read(document)
    if "tokens_evaluated" in document:
        return llama_cpp.read(document)
    if "meta" in document:
        return cohere.read_meta(document)
    return None


def _find_usage(document: dict[str, Any], usage: dict[str, Any]) -> Found | None:
    if "prompt_tokens" in usage or "completion_tokens" in usage:
        return openai.read_chat(document, usage)
    if anthropic.is_shape(document, usage):
        return anthropic.read(document, usage)
    if "input_tokens" in usage or "output_tokens" in usage:
        return openai.read_response(document, usage)
    if "inputTokens" in usage or "outputTokens" in usage:
        return bedrock.read(usage)
    if "billed_units" in usage or "tokens" in usage:
        return cohere.read(usage)
    return None


def _find_inside(document: dict[str, Any]) -> Found | None:
    # The envelopes of streams. Each kind by its own name, so that a document that merely quotes another is not counted.
    kind = document.get("type")
    if kind == "message_start":
        return anthropic.read_start(document)
    if kind == "message-end":
        return cohere.read_end(document)
    if isinstance(kind, str) and kind.startswith("response."):
        return openai.read_envelope(document)
    if document.get("event_type") == "stream-end":
        return cohere.read_stream_end(document)
    if "metadata" in document:
        return bedrock.read_metadata(document)
    return None
