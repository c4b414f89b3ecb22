"""One JSON document: whether it can tell usage at all, and what it holds."""

from __future__ import annotations

import json
from typing import Any, Final, TypedDict

from msgspec.json import Decoder

UTF8_BOM: Final = b"\xef\xbb\xbf"

LLAMA_CPP: Final = b'"tokens_evaluated"'
USAGE: Final = b'"usage'  # also the start of Gemini's "usageMetadata"
ERROR: Final = b'"error"'
_NO_ERRORS = (b'"error":null', b'"error": null')
NULLS: Final = (b'"usage":null', b'"usage": null')  # in every chunk but the last of an OpenAI stream
_SPACE: Final = " \t\r\n"
_decode = json.JSONDecoder().raw_decode


class _Part(TypedDict, total=False):
    finish_reason: Any
    finishReason: Any


class _Outline(TypedDict, total=False):
    """The members that `shapes` look at. All others, above all the text, are skipped and not built."""

    candidates: list[_Part]
    choices: list[_Part]
    delta: Any
    done: Any
    error: Any
    eval_count: Any
    event_type: Any
    message: Any
    meta: Any
    metadata: Any
    model: Any
    modelVersion: Any
    prompt_eval_count: Any
    response: Any
    stop: Any
    tokens_evaluated: Any
    tokens_predicted: Any
    type: Any
    usage: Any
    usageMetadata: Any


_decode_outline = Decoder(_Outline).decode

# The searches below run for every chunk that passes. For bytes `rfind` takes half the time of `find` and a quarter of
# that of `in`; besides, counts stand at the end. False is certain, True is for the parser to decide.


def may_have_usage(document: bytes | bytearray) -> bool:
    """Tell whether a member "usage…" that is not null may be in a document."""
    at = document.rfind(USAGE)
    return at >= 0 and not (document.startswith(NULLS, at) and document.rfind(USAGE, 0, at) < 0)


def may_be_error(document: bytes | bytearray) -> bool:
    """Tell whether a document of a stream may tell an error."""
    at = document.rfind(ERROR)
    return at >= 0 and not (document.startswith(_NO_ERRORS, at) and document.rfind(ERROR, 0, at) < 0)


def may_be_ollama(document: bytes | bytearray) -> bool:
    """Tell whether a document may hold Ollama's counts."""
    return document.rfind(b'eval_count"') >= 0


def may_be_llama_cpp(document: bytes | bytearray) -> bool:
    """Tell whether a document may hold the counts of the llama.cpp server's own API."""
    return document.rfind(LLAMA_CPP) >= 0


def may_be_cohere_v1(document: bytes | bytearray) -> bool:
    """Tell whether a document may hold the counts of Cohere's version 1."""
    return document.rfind(b'"billed_units"') >= 0


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
