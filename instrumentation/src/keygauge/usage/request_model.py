"""The model that a request names, for answers that name none: images, speech, transcriptions, Cohere, Bedrock."""

from __future__ import annotations

import re
from typing import TypedDict

from msgspec.json import Decoder

from keygauge.usage.providers.model import name_of

HEAD_BYTES = 2**16  # of a request's first and last chunk, that is


class _Named(TypedDict, total=False):
    model: object


_decode = Decoder(_Named).decode
_in_json = re.compile(rb'"model"\s*:\s*"([^"\\]{1,256})"').search
_in_form = re.compile(rb'name="?model"?\r?\n(?:[^\r\n]{1,512}\r?\n){0,4}\r?\n([^\r\n]{1,256})\r?\n').search


def find(head: bytes, tail: bytes) -> str | None:
    """Find it in the beginning or the end of a request's body."""
    head, tail = head[:HEAD_BYTES], tail[-HEAD_BYTES:]
    if head.rfind(b"model") < 0 and tail.rfind(b"model") < 0 and head.rfind(b"\\u") < 0:  # nor in escapes
        return None
    if head.lstrip()[:1] == b"{":
        try:
            return name_of(_decode(head).get("model"))
        except (ValueError, RecursionError):  # not whole
            found = _in_json(head) or _in_json(tail)
    elif head.startswith(b"--"):
        found = _in_form(head) or _in_form(tail)
    else:
        return None
    return name_of(found[1].decode("utf-8", "replace").strip()) if found else None
