"""The members of answers that `providers` use: only these are parsed, and only these are kept of a large document."""

from __future__ import annotations

from typing import Any, Final, TypedDict

from msgspec import Raw


class _Part(TypedDict, total=False):
    delta: Any
    finish_reason: Any
    index: Any
    text: Any
    usage: Any


class _Item(TypedDict, total=False):
    action: Any
    type: Any


class _Output(TypedDict, total=False):
    model: Any


class _Result(TypedDict, total=False):
    generated_token_count: Any
    input_token_count: Any
    stop_reason: Any
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
    candidates: list[_Candidate]
    id: Any
    meta: Any
    model: Any
    modelVersion: Any
    output: list[_Item]
    tool_usage: Any
    usage: Any
    usageMetadata: Any


# The members that `providers` use. All others, above all the text, are skipped by the parser.
# fmt: off
_MEMBERS: Final = (
    "amazon-bedrock-invocationMetrics", "bytes", "delta", "details", "done", "duration", "error", "eval_count",
    "event_type", "finish_reason", "generation_token_count", "id", "images", "input_token_count",
    "inputTextTokenCount", "interaction", "item_id", "jsonrpc", "message", "meta", "meta_info", "metadata", "metrics",
    "model", "model_id", "model_version", "modelVersion", "object", "prompt_eval_cached_count", "prompt_eval_count",
    "prompt_filter_results", "prompt_token_count", "responseId", "seconds", "serverContent", "session", "status",
    "stop", "stop_reason", "success", "svg_usage", "task", "time_info", "timings", "tokens_evaluated",
    "tokens_predicted", "tool_usage", "totalOutputTextTokenCount", "type", "usage", "usage_breakdown", "usage_info",
    "usage_metadata", "usageMetadata", "x_groq",
)
# fmt: on
_LARGE_MEMBERS: Final[dict[str, Any]] = {
    "candidates": list[_Candidate],
    "choices": list[_Part],
    "data": Raw,
    "output": list[_Item],
    "outputs": list[_Output],
    "predictions": list[_Prediction],
    "response": _Response,
    "result": Raw,
    "results": list[_Result],
}
Outline = TypedDict("Outline", {**dict.fromkeys(_MEMBERS, Any), **_LARGE_MEMBERS}, total=False)  # type: ignore[misc]

_INNER: Final = (
    *("b64_json", "billableCharacterCount", "generated_tokens", "input_length", "prefill", "turnComplete", "url"),
    *(name for kind in (_Part, _Item, _Result, _Candidate, _Embeddings, _Prediction) for name in kind.__annotations__),
)
# fmt: off
_PARENTS: Final = (
    "candidates", "choices", "data", "delta", "details", "embeddings", "interaction", "message", "metadata", "output",
    "outputs", "predictions", "response", "result", "results", "serverContent", "session",
)
# fmt: on
NAMES: Final = frozenset(name.encode() for name in (*_MEMBERS, *_LARGE_MEMBERS, *_INNER))
PARENTS: Final = frozenset(name.encode() for name in _PARENTS)
"""Objects in which only members in `NAMES` are used; of others, such as `usage`, everything is."""
LISTS: Final = frozenset({b"images", b"predictions", b"prefill"})
"""Arrays of which every element is counted."""
