"""The two most common answers, a chat completion and a message, parsed and checked in one step.

Anything unusual is left to `providers` and `accumulator`, which read any answer: a missing count or finish reason, an
impossible count, unknown members. Both give the same result for an answer that both can read.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, Protocol

from msgspec import Meta, Struct
from msgspec.json import Decoder

from keygauge.usage.counts import MAX_TOKENS, Usage
from keygauge.usage.model_name import MAX_CHARACTERS
from keygauge.usage.providers import anthropic, azure, openai
from keygauge.usage.providers.names import known
from keygauge.usage.reading import Reading

_Count = Annotated[int, Meta(ge=0, le=MAX_TOKENS)]
_Name = Annotated[str, Meta(min_length=1, max_length=MAX_CHARACTERS)]
_None = Literal[0] | None  # rare kinds of usage


class Named(Protocol):
    """A reader that stores the id of its answer."""

    answer: str | None


class _Choice(Struct, gc=False):
    finish_reason: Literal["stop", "length", "tool_calls", "function_call", "content_filter"]  # without errors


class _PromptDetails(Struct, gc=False, forbid_unknown_fields=True):
    cached_tokens: _Count | None = None
    audio_tokens: _None = None
    cache_write_tokens: _Count | None = None
    cache_creation_tokens: _Count | None = None
    image_tokens: _None = None
    text_tokens: int | None = None
    video_tokens: _None = None


class _CompletionDetails(Struct, gc=False, forbid_unknown_fields=True):
    reasoning_tokens: _Count | None = None
    audio_tokens: _None = None
    accepted_prediction_tokens: int | None = None  # part of the output, billed like the rest
    rejected_prediction_tokens: int | None = None
    image_tokens: _None = None
    text_tokens: int | None = None
    video_tokens: _None = None


class _ToolUse(Struct, gc=False):
    web_search_requests: _None = None
    web_fetch_requests: _None = None
    code_execution_requests: _None = None


class _ChatUsage(Struct, gc=False, forbid_unknown_fields=True):  # members of single providers need the full reader
    prompt_tokens: _Count
    completion_tokens: _Count
    total_tokens: _Count
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None


class _Filtered(Struct, gc=False):
    pass


class _Chat(Struct, gc=False, kw_only=True):  # fields in their usual order decode faster
    id: str | None = None
    model: _Name
    choices: list[_Choice] = []
    usage: _ChatUsage
    timings: None = None  # llama.cpp's
    prompt_filter_results: list[_Filtered] | None = None  # Azure's
    time_info: None = None  # Cerebras's
    x_groq: None = None
    usage_breakdown: None = None  # also Groq's


class _OutputDetails(Struct, gc=False):
    thinking_tokens: _Count | None = None


class _CacheCreation(Struct, gc=False):
    ephemeral_1h_input_tokens: _Count | None = None


class _MessageUsage(Struct, gc=False):
    input_tokens: _Count
    output_tokens: _Count
    cache_read_input_tokens: _Count | None = None
    cache_creation_input_tokens: _Count | None = None
    cache_creation: _CacheCreation | None = None
    output_tokens_details: _OutputDetails | None = None
    server_tool_use: _ToolUse | None = None
    is_byok: None = None  # OpenRouter's
    iterations: None = None
    total_tokens: None = None
    prompt_tokens: None = None
    completion_tokens: None = None


class _Message(Struct, gc=False, kw_only=True):
    id: str | None = None
    type: Literal["message"]
    model: _Name
    usage: _MessageUsage


# A named tuple's own `__new__` is a Python function and takes four times as long.
_new: Final = tuple.__new__
_TAIL: Final = -1024  # usage is in the last bytes of an answer
_OPENAI: Final = openai.PROVIDER
_ANTHROPIC: Final = anthropic.PROVIDER
_AZURE: Final = azure.PROVIDER
_decode_chat: Final = Decoder(_Chat).decode
_decode_message: Final = Decoder(_Message).decode


def read(body: bytes | bytearray, reader: Named | None = None) -> Reading | None:
    """Read a whole body and set the reader's `answer` id; return None if the answer is another kind or unusual."""
    try:
        if body.rfind(b'"prompt_tokens"', _TAIL) >= 0:
            chat = _decode_chat(body)
            if reader is not None:
                reader.answer = chat.id
            return _read_chat(chat)
        if body.rfind(b'"input_tokens"', _TAIL) >= 0:
            message = _decode_message(body)
            if reader is not None:
                reader.answer = message.id
            return _read_message(message)
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
        return None
    return None


def _read_chat(chat: _Chat) -> Reading | None:
    usage = chat.usage
    given, made = usage.prompt_tokens, usage.completion_tokens
    if usage.total_tokens > given + made:
        return None
    details = usage.prompt_tokens_details
    reasoned = usage.completion_tokens_details
    read = written = thought = None
    if details is not None:
        read, written = details.cached_tokens, details.cache_write_tokens
        if written is None:
            written = details.cache_creation_tokens
        if (read or 0) > given:
            return None
    if reasoned is not None:
        thought = reasoned.reasoning_tokens
        if (thought or 0) > made:
            return None
    counts = _new(Usage, (given, made, read, written, thought, None))
    name, provider = known(chat.model)
    provider = _AZURE if chat.prompt_filter_results else provider or _OPENAI
    return _new(Reading, (counts, name, provider, "reported", None))


def _read_message(message: _Message) -> Reading | None:
    usage = message.usage
    read, written = usage.cache_read_input_tokens, usage.cache_creation_input_tokens
    given = usage.input_tokens + (read or 0) + (written or 0)
    details = usage.output_tokens_details
    thought = None if details is None else details.thinking_tokens
    for_an_hour = None if usage.cache_creation is None else usage.cache_creation.ephemeral_1h_input_tokens
    if written is None and usage.cache_creation is not None:
        return None
    if given > MAX_TOKENS or (thought or 0) > usage.output_tokens or (for_an_hour or 0) > (written or 0):
        return None
    more = {"cache_write_1h": for_an_hour} if for_an_hour else None
    counts = _new(Usage, (given, usage.output_tokens, read, written, thought, more))
    name, provider = known(message.model)
    return _new(Reading, (counts, name, provider or _ANTHROPIC, "reported", None))
