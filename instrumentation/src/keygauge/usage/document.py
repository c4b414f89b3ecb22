"""One JSON document: whether it can tell usage at all, and what it holds."""

from __future__ import annotations

import json
import re
from typing import Any, Final, TypedDict

from msgspec import Raw
from msgspec.json import Decoder

UTF8_BOM: Final = b"\xef\xbb\xbf"

TOKEN: Final = b"oken"  # in every usage that counts tokens, as "prompt_tokens", "inputTokens" or "promptTokenCount"
USAGE: Final = b'"usage'  # also the start of Gemini's "usageMetadata"
ERROR: Final = b"error"
_NO_ERRORS = (b'error":null', b'error": null')
_NULLS: Final = (b'"usage":null', b'"usage": null')  # in every chunk but the last of an OpenAI stream
_BEGINNINGS: Final = (b'"created"', b'"predictions"', b'"task"', b'"error"', b'"jsonrpc"')
_IMAGES: Final = (b'"url"', b'"b64_json"')
_HEAD_BYTES: Final = 64
_FIRST_BYTES: Final = 512  # of a list, with the first that it holds
_SPACE: Final = " \t\r\n"
_decode = json.JSONDecoder().raw_decode
_between = re.compile(rf"[{_SPACE},]*").match  # elements of an array


class _Part(TypedDict, total=False):
    delta: Any
    finish_reason: Any
    text: Any
    usage: Any


class _Item(TypedDict, total=False):
    action: Any
    type: Any


class _Result(TypedDict, total=False):
    tokenCount: Any


class _Candidate(TypedDict, total=False):
    finishReason: Any
    finish_reason: Any
    groundingMetadata: Any
    grounding_metadata: Any


class _Embeddings(TypedDict, total=False):
    statistics: Any


class _Prediction(TypedDict, total=False):
    embeddings: _Embeddings
    mimeType: Any


class _Response(TypedDict, total=False):
    id: Any
    meta: Any
    model: Any
    output: list[_Item]
    tool_usage: Any
    usage: Any


# The members that `providers` look at. All others, above all the text, are skipped and not built.
# fmt: off
_MEMBERS: Final = (
    "amazon-bedrock-invocationMetrics", "bytes", "delta", "details", "done", "duration", "error",
    "eval_count", "event_type", "finish_reason", "generation_token_count", "id", "inputTextTokenCount",
    "interaction", "item_id", "jsonrpc", "message", "meta", "meta_info", "metadata", "model",
    "modelVersion", "model_version", "object", "prompt_eval_count", "prompt_filter_results", "prompt_token_count",
    "responseId", "seconds", "serverContent", "session", "status", "stop", "stop_reason", "svg_usage", "task",
    "time_info", "timings",
    "tokens_evaluated", "tokens_predicted", "tool_usage", "totalOutputTextTokenCount", "type", "usage",
    "usageMetadata", "usage_info", "usage_metadata", "x_groq",
)
# fmt: on
_LARGE_MEMBERS: Final[dict[str, Any]] = {
    "candidates": list[_Candidate],
    "choices": list[_Part],
    "data": Raw,
    "output": list[_Item],
    "predictions": list[_Prediction],
    "response": _Response,
    "results": list[_Result],
}
_Outline = TypedDict("_Outline", {**dict.fromkeys(_MEMBERS, Any), **_LARGE_MEMBERS}, total=False)  # type: ignore[misc]
_decode_outline = Decoder(_Outline).decode

# The searches below run for every chunk that passes. For bytes `rfind` takes half the time of `find` and a quarter of
# that of `in`; besides, counts stand at the end. False is certain, True is for the parser to decide.


def may_have_usage(document: bytes | bytearray) -> bool:
    """Return whether a member "usage…" that is not null may be in a document."""
    at = document.rfind(USAGE)
    return at >= 0 and not (document.startswith(_NULLS, at) and document.rfind(USAGE, 0, at) < 0)


def may_be_error(document: bytes | bytearray) -> bool:
    """Return whether a document of a stream may tell an error."""
    at = document.rfind(ERROR)
    return at >= 0 and not (document.startswith(_NO_ERRORS, at) and document.rfind(ERROR, 0, at) < 0)


def may_be_ollama(document: bytes | bytearray) -> bool:
    """Return whether a document may hold Ollama's counts."""
    return document.rfind(b'eval_count"') >= 0


def may_be_local(document: bytes | bytearray) -> bool:
    """Return whether a document may hold the counts of llama.cpp, SGLang, TGI, Titan, Llama or Vertex embeddings."""
    return (
        document.rfind(b'oken_count"') >= 0
        or document.rfind(b'"inputTextTokenCount"') >= 0
        or document.rfind(b'"tokens_evaluated"') >= 0
        or document.rfind(b'"generated_tokens"') >= 0
        or (document.rfind(b'"meta_info"') >= 0)
    )


def may_be_cohere_v1(document: bytes | bytearray) -> bool:
    """Return whether a document may hold the counts of Cohere's version 1."""
    return document.rfind(b'"billed_units"') >= 0


def begins_as_known(document: bytes | bytearray) -> bool:
    """Return whether a document without usage is of a known kind: images, a transcription, an error, JSON-RPC."""
    return any(document.find(name, 0, _HEAD_BYTES) >= 0 for name in _BEGINNINGS)


def may_be_images(document: bytes | bytearray) -> bool:
    """Return whether a document without usage may be a list of a model's images (Together)."""
    if document.find(b'"model"', 0, _FIRST_BYTES) < 0:
        return False
    return any(document.find(name, 0, _FIRST_BYTES) >= 0 for name in _IMAGES)


def parse(document: bytes | bytearray) -> object:
    """Read what shapes look at; None when it is no JSON. Bytes that are no UTF-8 only spoil the text they stand in."""
    try:
        return _decode_outline(document)
    except (ValueError, RecursionError):  # no object, no UTF-8, or a member of another type: all of it, then
        return _parse_whole(document)


def _parse_whole(document: bytes | bytearray) -> object:
    text = document.decode("utf-8", "replace").strip(_SPACE)
    try:
        value, end = _decode(text)
    except (ValueError, RecursionError):
        return None
    return value if end == len(text) else None


def parse_elements(array: bytes | bytearray) -> list[object]:
    """Read an array that broke off, as far as its elements are whole."""
    text = array.decode("utf-8", "replace")
    elements, at = [], text.find("[") + 1
    try:
        while True:
            between = _between(text, at)
            value, at = _decode(text, at if between is None else between.end())
            elements.append(value)
    except (ValueError, RecursionError):
        return elements
