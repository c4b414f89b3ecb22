"""The model named in a request, for answers that name none: images, speech, transcriptions, Cohere, Bedrock."""

from __future__ import annotations

import re
from typing import Final

from msgspec import Struct
from msgspec.json import Decoder

from keygauge.usage.model_name import name_of

HEAD_BYTES: Final = 2**16  # searched of each of a request's first and last chunk


class _Named(Struct, gc=False):
    model: object = None


class _Opening(Struct, gc=False):
    model: object = None
    session: _Named | None = None
    setup: _Named | None = None


_decode = Decoder(_Named).decode
_decode_opening = Decoder(_Opening).decode
_in_json = re.compile(rb'"model"\s*:\s*"([^"\\]{1,256})"').search
_in_form = re.compile(rb'name="?model"?\r?\n(?:[^\r\n]{1,512}\r?\n){0,4}\r?\n([^\r\n]{1,256})\r?\n').search


def find(head: bytes, tail: bytes) -> str | None:
    """Find the model in the beginning or the end of a request's body."""
    is_json = head.lstrip()[:1] == b"{"
    if is_json and len(head) <= HEAD_BYTES and (head is tail or head.endswith(tail)):
        try:  # searching for the name first would take as long
            return name_of(_decode(head).model)
        except (ValueError, RecursionError):  # incomplete
            pass
    elif not is_json and not head.startswith(b"--"):
        return None
    head, tail = head[:HEAD_BYTES], tail[-HEAD_BYTES:]
    if head.rfind(b"model") < 0 and tail.rfind(b"model") < 0:
        return None
    search = _in_json if is_json else _in_form
    found = search(head) or search(tail)
    return name_of(found[1].decode("utf-8", "replace").strip()) if found else None


def find_in_message(message: bytes) -> str | None:
    """Find the model in a client's WebSocket message: in OpenAI's session or response, or Gemini's setup."""
    try:
        opening = _decode_opening(message)
    except (ValueError, RecursionError):
        return None
    named = (opening, opening.session, opening.setup)
    return next((model for one in named if one is not None and (model := name_of(one.model))), None)
