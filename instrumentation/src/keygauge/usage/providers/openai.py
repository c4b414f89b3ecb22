"""OpenAI: Chat Completions, Completions, Embeddings, Responses, Images, Audio, Realtime; and compatible APIs.

Input and output include cached and reasoning tokens. The counts of a stream are in its last chunk, whose `choices` are
empty (`stream_options.include_usage`), or in the object of `response.completed`. Realtime sends a `response.done` for
each response. Errors are `{"error": {…}}`. If `total_tokens` is more than input plus output, the rest is hidden output
(Gemini's compatible API); if it is the only count, it is input (embeddings).

https://platform.openai.com/docs/api-reference/chat/object, …/responses/object, …/realtime-server-events
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypedDict

from msgspec import Raw
from msgspec.json import Decoder

from keygauge.usage.counts import whole
from keygauge.usage.found import Found, RawUsage, Stage, first, inside, less, rounded_up
from keygauge.usage.model_name import name_of
from keygauge.usage.providers import deepseek, mistral, moonshot, perplexity, watsonx, xai
from keygauge.usage.providers.self_hosted import llama_cpp

PROVIDER = "openai"
PREFIXES = ("openai",)
MODELS = (
    *("gpt-", "chatgpt-", "o1", "o3", "o4-", "text-embedding-", "text-davinci-", "davinci-", "babbage-", "codex-"),
    *("dall-e-", "whisper-1", "tts-1", "omni-moderation", "computer-use-preview", "sora-", "ft:gpt-"),
)
_TOOLS: Final = {
    "web_search_call": "web_searches",
    "file_search_call": "file_searches",
    "code_interpreter_call": "tool_calls",
    "image_generation_call": "images",
}
_IMAGE_EVENTS: Final = ("image_generation.completed", "image_edit.completed")
_HEARD: Final = "conversation.item.input_audio_transcription.completed"
_HEARING: Final = "input_audio_transcription"  # in sessions of the beta API


class _Image(TypedDict, total=False):
    b64_json: Raw
    url: Raw


_decode_data = Decoder(list[_Image]).decode


def tells_by_other_names(usage: Mapping[str, Any]) -> bool:
    """Return whether a gateway reports zeros as `prompt_tokens` and `completion_tokens` next to the real counts."""
    is_told = usage.get("input_tokens", 0) not in (None, 0)  # not a set: the value may be unhashable
    return is_told and not whole(usage.get("prompt_tokens")) and not whole(usage.get("completion_tokens"))


def read_chat(document: dict[str, Any], usage: dict[str, Any]) -> Found | None:
    """Read `prompt_tokens` and `completion_tokens`; not those of an Assistants run step, which its run includes."""
    if document.get("object") == "thread.run.step":
        return None
    given, made = (
        inside(usage, "prompt_tokens_details", "prompt_token_details"),
        inside(usage, "completion_tokens_details"),
    )
    model = name_of(first(document, "model", watsonx.MODEL)) or mistral.model_in(document)
    cached = first(given, "cached_tokens")
    if cached is None:
        cached = first(usage, deepseek.CACHE_READ, moonshot.CACHE_READ, mistral.CACHE_READ, "cache_read_input_tokens")
    if cached is None:
        cached = llama_cpp.cached_in(document)
    written = first(given, "cache_write_tokens", "cache_creation_tokens")
    if written is None:  # LiteLLM, for Anthropic
        written = usage.get("cache_creation_input_tokens")
    return Found(
        RawUsage(
            usage.get("prompt_tokens"),
            usage.get("completion_tokens"),
            cached,
            written,
            first(made, "reasoning_tokens") if made else usage.get(perplexity.REASONING),
            usage.get(mistral.CONNECTORS),
            usage.get("total_tokens") if mistral.seconds_of(usage) is None else None,
            _details(given, made, usage),
        ),
        PROVIDER,
        model,
        _stage(document),
        cache_is_beside=_caches_beside(usage, cached, written),
        reasoning_is_beside=_reasons_beside(model, usage, made),
        answer=_id(document),
        choice=_choice(document),
        trails=document.get("choices") == [],
    )


def read_response(document: dict[str, Any], usage: dict[str, Any], *, stage: Stage = "final") -> Found:
    """Read `input_tokens` and `output_tokens` of a Responses object, image, transcription or Realtime response."""
    given = inside(usage, "input_tokens_details", "input_token_details")
    made = inside(usage, "output_tokens_details", "output_token_details") or _all_image(document, usage)
    drawing = inside(document.get("tool_usage"), "image_gen")
    return Found(
        RawUsage(
            _with(usage.get("input_tokens"), drawing.get("input_tokens")),
            _with(usage.get("output_tokens"), drawing.get("output_tokens")),
            given.get("cached_tokens"),
            given.get("cache_write_tokens"),
            made.get("reasoning_tokens"),
            None,
            usage.get("total_tokens"),
            _details(given, made, usage) | _tools_of(document, usage) | _drawn(drawing),
        ),
        PROVIDER if "total_tokens" in usage else None,
        name_of(document.get("model")),
        stage,
        answer=_id(document),
        others=_drawers(document),
    )


def read_seconds(document: dict[str, Any], seconds: Any) -> Found:
    """Read usage billed per second: a transcription, a video, a Live session so far."""
    raw = RawUsage(details={"seconds": rounded_up(seconds)})
    return Found(raw, PROVIDER, name_of(document.get("model")), "final", answer=_id(document))


def read_pieces(document: dict[str, Any]) -> Found | None:
    """Read an answer without usage that is billed per unit: images, a video, a transcription with its duration."""
    if document.get("object") == "video":
        return read_seconds(document, document.get("seconds"))
    if document.get("task") in ("transcribe", "translate") and "duration" in document:
        return read_seconds(document, document["duration"])
    images = _images_in(document.get("data"))
    if not images:
        return None
    model = name_of(document.get("model"))
    return Found(RawUsage(details={"images": images}), PROVIDER, model, "final", answer=_id(document))


def read_envelope(event: dict[str, Any]) -> Found | None:
    """Read the object in `response.completed`, `.incomplete`, `.failed` and `.done`; before, usage is null."""
    response = event.get("response")
    if not isinstance(response, dict) or not isinstance(usage := response.get("usage"), dict):
        return None
    return read_response(response, usage)


def name_transcriber(event: dict[str, Any], known: str | None) -> str | None:
    """Return the transcription model of a Realtime session, if known, and set it in a transcription event.

    That event names no model, and the session's own model is the one that answers.
    """
    if event.get("type") == _HEARD and known is not None:
        event.setdefault("model", known)
    session = inside(event, "session")
    hearing = inside(inside(inside(session, "audio"), "input"), "transcription") or inside(session, _HEARING)
    return name_of(hearing.get("model")) or known


def _details(given: Mapping[str, Any], made: Mapping[str, Any], usage: Mapping[str, Any]) -> dict[str, Any]:
    """Return the usage beyond text tokens, by kind; cached tokens are subtracted from the input's if reported."""
    cached = inside(given, "cached_tokens_details")
    details: dict[str, Any] = {}
    for kind in ("audio", "image", "video"):
        name = f"{kind}_tokens"
        all_given, from_cache = given.get(name), cached.get(name)
        details[f"input_{kind}"] = less(all_given, from_cache)
        details[f"cache_read_{kind}"] = from_cache if kind != "video" else None
        details[f"output_{kind}"] = made.get(name)
    details["web_searches"] = first(usage, perplexity.SEARCHES, xai.SOURCES)
    if details["web_searches"] is None:
        details["web_searches"] = inside(usage, "server_tool_use").get("web_search_requests")
    details["seconds"] = mistral.seconds_of(usage)
    details["citations"] = usage.get(perplexity.CITATIONS)
    hour = inside(given, "cache_creation_token_details").get("ephemeral_1h_input_tokens")
    details["cache_write_1h"] = hour
    counted = {kind: count for kind, count in details.items() if count is not None and count != 0}
    return counted | mistral.calls_of(usage)


def _tools_of(document: Mapping[str, Any], usage: Mapping[str, Any]) -> dict[str, Any]:
    """Count the uses of hosted tools: as reported, else the calls in a response's output."""
    counts = xai.tools_of(usage)
    if counts is not None:
        return counts
    output = document.get("output")
    items = [item for item in output if isinstance(item, dict)] if isinstance(output, list) else []
    kinds = [_TOOLS[kind] for item in items if (kind := item.get("type")) in _TOOLS and _is_billed(item)]
    used = {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}
    searches = inside(document.get("tool_usage"), "web_search").get("num_requests")
    if searches is not None:
        used["web_searches"] = searches
    return {kind: count for kind, count in used.items() if count != 0}


def _with(count: Any, more: Any) -> Any:
    """Add a tool's tokens, which a response's own counts leave out."""
    own, others = whole(count), whole(more)
    return own + others if own is not None and others else count


def _drawn(usage: Mapping[str, Any]) -> dict[str, Any]:
    """Count the tokens of image generation; if reported, they are billed instead of the images."""
    if not whole(usage.get("output_tokens")):
        return {}
    given = inside(usage, "input_tokens_details").get("image_tokens")
    made = first(inside(usage, "output_tokens_details"), "image_tokens")
    details = {"images": 0, "input_image": given, "output_image": usage["output_tokens"] if made is None else made}
    return {kind: count for kind, count in details.items() if count is not None}


def _all_image(document: Mapping[str, Any], usage: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the details of an image's output if it has none: all of it is the image."""
    is_image = document.get("type") in _IMAGE_EVENTS or _images_in(document.get("data"))
    return {"image_tokens": usage.get("output_tokens")} if is_image else {}


def _drawers(document: Mapping[str, Any]) -> Sequence[tuple[str, RawUsage]]:
    """Return the model that wrote an image as SVG and its usage, which the image's own usage does not include."""
    usage = inside(document, "svg_usage")
    model = name_of(usage.get("model"))
    if model is None:
        return ()
    raw = RawUsage(usage.get("input_tokens"), usage.get("output_tokens"), reasoning=usage.get("reasoning_tokens"))
    return [(model, raw)]


def _is_billed(item: Mapping[str, Any]) -> bool:
    """Return whether a tool call is billed: of a search's actions, opening a page is free."""
    return bool(inside(item, "action").get("type", "search") == "search")


def _images_in(data: Any) -> int:
    """Count the images of an answer; 0 if it has anything else."""
    if isinstance(data, Raw):
        try:
            data = _decode_data(data)
        except ValueError:
            return 0
    is_all = isinstance(data, list) and all(
        isinstance(one, dict) and ("b64_json" in one or "url" in one) for one in data
    )
    return len(data) if is_all else 0


def _caches_beside(usage: Mapping[str, Any], read: Any, written: Any) -> bool:
    """Return whether the input excludes cached tokens, as with some gateways, judging by the total."""
    cached = (whole(read) or 0) + (whole(written) or 0)
    if not cached:
        return False
    given, made = whole(usage.get("prompt_tokens")) or 0, whole(usage.get("completion_tokens")) or 0
    return whole(usage.get("total_tokens")) == given + made + cached


def _reasons_beside(model: str | None, usage: Mapping[str, Any], details: Mapping[str, Any]) -> bool:
    if perplexity.REASONING in usage and not details:
        return perplexity.tells_reasoning_beside(model)
    return xai.tells_reasoning_beside(model, usage, details)


def _id(document: dict[str, Any]) -> str | None:
    name = document.get("id") or document.get("item_id")  # of a transcription in a Realtime session
    return name if isinstance(name, str) and name else None


def _choice(document: dict[str, Any]) -> int | None:
    """Return the index of a chunk's only choice."""
    choices = document.get("choices")
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
        return None
    index = choices[0].get("index")
    return index if type(index) is int else None


def _stage(document: dict[str, Any]) -> Stage:
    # vLLM can report counts in every chunk. The last has no choices or, with other servers, finished ones.
    choices = document.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if not isinstance(choice, dict) or not choice.get("finish_reason"):
            return "running"
    return "final"
