"""The two answers seen most, a chat completion and a message, read and checked in one step.

Whatever is out of the ordinary in one is left to `shapes` and `tally`, which read any answer: a count or an end that is
missing, a count that cannot be, other members than these. What both read they read alike.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import UNSET, Meta, Struct
from msgspec.json import Decoder

from keygauge.usage.counts import MAX_TOKENS, Usage
from keygauge.usage.providers import anthropic, mistral, openai
from keygauge.usage.providers.model import MAX_CHARACTERS
from keygauge.usage.reading import Reading

_Count = Annotated[int, Meta(ge=0, le=MAX_TOKENS)]
_Name = Annotated[str, Meta(min_length=1, max_length=MAX_CHARACTERS)]


class _Choice(Struct, gc=False):
    finish_reason: _Name


class _PromptDetails(Struct, gc=False):
    cached_tokens: _Count | None = None
    cache_write_tokens: _Count | None = None


class _CompletionDetails(Struct, gc=False):
    reasoning_tokens: Literal[0] | None = None  # to xAI they are beside the others


class _ChatUsage(Struct, gc=False):
    prompt_tokens: _Count
    completion_tokens: _Count
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None
    prompt_audio_seconds: object = UNSET  # Mistral's


class _Chat(Struct, gc=False):
    model: _Name
    usage: _ChatUsage
    choices: list[_Choice] = []


class _OutputDetails(Struct, gc=False):
    thinking_tokens: _Count | None = None


class _MessageUsage(Struct, gc=False):
    input_tokens: _Count
    output_tokens: _Count
    cache_read_input_tokens: _Count | None = None
    cache_creation_input_tokens: _Count | None = None
    output_tokens_details: _OutputDetails | None = None


class _Message(Struct, gc=False):
    type: Literal["message"]
    model: _Name
    usage: _MessageUsage


# A named tuple's own `__new__` is a function in Python and takes four times as long.
_new: Final = tuple.__new__
_decode_chat: Final = Decoder(_Chat).decode
_decode_message: Final = Decoder(_Message).decode


def read(body: bytes | bytearray) -> Reading | None:
    """Read a whole body; None: it is not one of the two, or not ordinary."""
    is_chat = body.rfind(b'"prompt_tokens"') >= 0
    if not is_chat and (body.rfind(b'"input_tokens"') < 0 or body.rfind(b'"completion_tokens"') >= 0):
        return None
    try:
        return _read_chat(_decode_chat(body)) if is_chat else _read_message(_decode_message(body))
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
        return None


def _read_chat(chat: _Chat) -> Reading | None:
    usage = chat.usage
    details = usage.prompt_tokens_details
    reasoned = usage.completion_tokens_details
    given = usage.prompt_tokens
    read = written = None
    if details is not None:
        read, written = details.cached_tokens, details.cache_write_tokens
        if (read or 0) > given or (written or 0) > given:
            return None
    is_mistral = chat.model.startswith(mistral.FAMILIES) or usage.prompt_audio_seconds is not UNSET
    thought = None if reasoned is None else reasoned.reasoning_tokens
    counts = _new(Usage, (given, usage.completion_tokens, read, written, thought, None))
    return _new(Reading, (counts, chat.model, mistral.PROVIDER if is_mistral else openai.PROVIDER, "reported", None))


def _read_message(message: _Message) -> Reading | None:
    usage = message.usage
    read, written = usage.cache_read_input_tokens, usage.cache_creation_input_tokens
    given = usage.input_tokens + (read or 0) + (written or 0)
    details = usage.output_tokens_details
    thought = None if details is None else details.thinking_tokens
    if given > MAX_TOKENS or (thought or 0) > usage.output_tokens:
        return None
    counts = _new(Usage, (given, usage.output_tokens, read, written, thought, None))
    return _new(Reading, (counts, message.model, anthropic.PROVIDER, "reported", None))
