"""The documents of each provider, distinguished by the shape of their usage.

A provider of a known shape is a file here and a word in `names`. The reader of a new shape is chosen by a member of the
document in `BY_MEMBER`; `outline` lists the members that are parsed, and `document` the words that a document with
usage contains, without which it is not parsed at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from keygauge.usage.found import Found, RawUsage, Stage, first, inside, together
from keygauge.usage.model_name import name_of
from keygauge.usage.providers import (
    anthropic,
    azure,
    bedrock,
    cerebras,
    cloudflare,
    cohere,
    gemini,
    groq,
    mistral,
    openai,
    openrouter,
    perplexity,
    replicate,
    watsonx,
)
from keygauge.usage.providers.self_hosted import llama_cpp, ollama, sglang, tgi

__all__ = ["Found", "RawUsage", "Stage", "find", "find_host", "find_id", "find_model", "has_content", "is_error"]

_ERROR_TYPES = ("error", "response.failed", "conversation.response.error")
_ERROR_REASONS = ("error", "ERROR", "ERROR_TOXIC")
_SILENT_TYPES = (  # events before the first one with content of the answer
    *("ping", "message_start", "content_block_start", "message-start", "content-start", "stream-start"),
    *("response.created", "response.in_progress", "response.queued", "response.output_item.added"),
    *("response.content_part.added", "interaction.start", "content.start", "session.created", "session.updated"),
    *("conversation.response.started", "tool.execution.started", "tool.execution.delta", "tool.execution.done"),
    *("agent.handoff.started", "agent.handoff.done"),
)
_MARKS = {one.MARK: one.PROVIDER for one in (groq, cerebras, azure)}
_HOLDERS = ("message", "response", "interaction", "session")  # objects that may name the model
BY_MEMBER: dict[str, Callable[[dict[str, Any]], Found | None]] = {
    "usageMetadata": gemini.read,
    "usage_metadata": gemini.read_snake_case,
    "usage_info": mistral.read_pages,
    "eval_count": ollama.read,
    "prompt_eval_count": ollama.read,
    "tokens_evaluated": llama_cpp.read,
    "inputTextTokenCount": bedrock.read_titan,
    "prompt_token_count": bedrock.read_llama,
    "generation_token_count": bedrock.read_llama,
    "predictions": gemini.read_predictions,
    "meta": cohere.read_meta,
    "meta_info": sglang.read,
}
_OTHERS = (tgi.read, openai.read_pieces, bedrock.read_images, watsonx.read, replicate.read)


def find(document: object) -> Sequence[Found]:
    """Find the usage in a parsed document; empty if it has none, several items if it is an array of chunks."""
    if isinstance(document, dict):
        found = _find_outside(document) or _find_inside(document)
        return () if found is None else (found,)
    return gemini.read_list(document) or _find_in_list(document) if isinstance(document, list) else ()


def _find_in_list(documents: list[Any]) -> list[Found]:
    """Find the usage of a local server's batch, whose parts belong to one call and one model."""
    others = [document for document in documents if isinstance(document, dict) and "usage" not in document]
    found = [one for document in others if (one := _find_local(document))]
    return [together(found)] if found else []


def _find_local(document: dict[str, Any]) -> Found | None:
    if "tokens_evaluated" in document:
        return llama_cpp.read(document)
    return sglang.read(document) or tgi.read(document)


def find_model(document: object) -> str | None:
    """Find the model's name in a document without usage."""
    if isinstance(document, list):
        document = next(iter(gemini.chunks_in(document)), None)
    if not isinstance(document, dict):
        return None
    for holder in (document, *(document.get(name) for name in _HOLDERS)):
        if isinstance(holder, dict) and (model := name_of(first(holder, "model", "modelVersion", "model_version"))):
            return model
    return None


def find_host(document: object) -> str | None:
    """Return the host that served an answer, if marked in it: its prices apply, not those of the model's maker."""
    if not isinstance(document, dict):
        return None
    if openrouter.bills(inside(document, "usage")):
        return openrouter.PROVIDER
    return next((provider for mark, provider in _MARKS.items() if document.get(mark)), None)


def find_id(document: object) -> str | None:
    """Find the id of the answer in a document."""
    for holder in (document, *(inside(document, name) for name in ("response", "message", "interaction"))):
        name = holder.get("id") or holder.get("responseId") if isinstance(holder, dict) else None
        if isinstance(name, str) and name:
            return name
    return None


def is_error(document: object) -> bool:
    """Return whether a document reports that the answer failed, in any provider's form.

    A member `error` is used by OpenAI, Gemini and Ollama, the type "error" by Anthropic and OpenAI's Responses, the
    object "error" by vLLM, a finish reason by Cohere and OpenRouter. In JSON-RPC (MCP) an error is a normal answer.
    """
    if isinstance(document, list):  # Gemini's stream as one array
        return bool(document) and is_error(document[-1])
    if not isinstance(document, dict) or "jsonrpc" in document:
        return False
    error = document.get("error")
    if isinstance(error, dict | str) and error:
        return True
    if document.get("type") in _ERROR_TYPES or document.get("object") == "error" or _has_failed(document):
        return True
    reasons = [document.get("finish_reason"), inside(document, "delta").get("finish_reason")]
    choices = document.get("choices")
    if isinstance(choices, list):
        reasons += [choice.get("finish_reason") for choice in choices if isinstance(choice, dict)]
    return any(reason in _ERROR_REASONS for reason in reasons if isinstance(reason, str))


def _has_failed(document: dict[str, Any]) -> bool:
    """Return whether a run or an interaction has failed, which a stream shows as a whole object."""
    shown = document if document.get("object") == "thread.run" else inside(document, "interaction")
    return bool(shown.get("status") == "failed")


def has_content(document: object) -> bool:
    """Return whether an event has content of the answer, so that a client sees its first token."""
    if not isinstance(document, dict):
        return True
    kind = document.get("type") or document.get("event_type")
    if isinstance(kind, str):
        return kind not in _SILENT_TYPES and not kind.startswith("keepalive")
    choices = document.get("choices")
    if not isinstance(choices, list):
        return True
    return any(map(_says_something, choices))


def _says_something(choice: Any) -> bool:
    if not isinstance(choice, dict):
        return True
    delta = choice.get("delta")
    if not isinstance(delta, dict):
        return bool(choice.get("text")) or delta is None
    return any(value for name, value in delta.items() if name != "role")


def _find_outside(document: dict[str, Any]) -> Found | None:
    usage = (
        document.get("usage") or groq.usage_of(document) or _usage_of_choice(document) or cloudflare.usage_of(document)
    )
    if isinstance(usage, dict) and (found := _find_usage(document, usage)):
        return found
    for member, read in BY_MEMBER.items():
        if member in document:
            return read(document)
    for read in _OTHERS:
        if found := read(document):
            return found
    return None


def _usage_of_choice(document: dict[str, Any]) -> dict[str, Any] | None:
    """Return the usage that Moonshot puts in a choice of the last chunk."""
    choices = document.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    usage = choice.get("usage") if isinstance(choice, dict) else None
    return usage if isinstance(usage, dict) else None


def _find_usage(document: dict[str, Any], usage: dict[str, Any]) -> Found | None:
    if anthropic.is_session(document):
        return None
    if ("prompt_tokens" in usage or "completion_tokens" in usage) and not openai.tells_by_other_names(usage):
        found = openai.read_chat(document, usage)
        return found and _by_call(found, groq.calls_in(document))
    if "total_input_tokens" in usage or "total_output_tokens" in usage:
        return gemini.read_interaction(document, usage)
    if anthropic.is_shape(document, usage):
        return anthropic.read(document, usage)
    if "input_tokens" in usage or "output_tokens" in usage:
        return openai.read_response(document, usage)
    if "inputTokens" in usage or "outputTokens" in usage:
        return bedrock.read(usage)
    if "billed_units" in usage or "tokens" in usage:
        return cohere.read(usage)
    if "total_tokens" in usage:  # embeddings of some providers
        return openai.read_chat(document, usage)
    return openai.read_seconds(document, usage["seconds"]) if "seconds" in usage else None


def _by_call(found: Found, calls: list[tuple[str, dict[str, Any]]]) -> Found:
    """Replace a sum with the last of its calls; the others become other models' parts."""
    raws = [(model, read.raw) for model, usage in calls if (read := openai.read_chat({"model": model}, usage))]
    if not raws:
        return found
    *others, (model, raw) = raws
    return found._replace(raw=raw, model=model, others=others)


def _find_inside(document: dict[str, Any]) -> Found | None:
    # The envelopes of streams, each recognized by its own name, so that a document that only quotes one is not counted.
    kind = document.get("type")
    if kind == "message_start":
        return anthropic.read_start(document)
    if kind == "message-end":
        return cohere.read_end(document)
    if isinstance(kind, str) and kind.startswith("response."):
        return openai.read_envelope(document)
    event = document.get("event_type")
    if event == "stream-end":
        return cohere.read_stream_end(document)
    interaction = document.get("interaction")
    if isinstance(interaction, dict) and isinstance(usage := interaction.get("usage"), dict):
        return gemini.read_interaction(interaction, usage)
    if kind is None and document.get("status") == perplexity.COMPLETED:
        return _find_in_job(document)
    if inside(document, "response").get("usageMetadata"):  # Code Assist
        return gemini.read(document["response"])
    return bedrock.read_metadata(document) or bedrock.read_metrics(document)


def _find_in_job(document: dict[str, Any]) -> Found | None:
    """Read the answer in a Perplexity job; the job's id identifies it, as reads use that."""
    response = document.get("response")
    if not isinstance(response, dict) or not isinstance(usage := response.get("usage"), dict):
        return None
    found = openai.read_chat(response, usage)
    return found and found._replace(answer=find_id(document))
