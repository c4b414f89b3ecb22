"""The model that a request names, for answers that name none: images, speech, transcriptions, Cohere, Bedrock."""

from __future__ import annotations

import re
from typing import TypedDict
from urllib.parse import unquote

from msgspec.json import Decoder

from keygauge.usage.providers.model import name_of

HEAD_BYTES = 2**16  # of a request's first and last chunk, that is


class _Named(TypedDict, total=False):
    model: object


_decode = Decoder(_Named).decode
_in_json = re.compile(rb'"model"\s*:\s*"([^"\\]{1,256})"').search
_in_form = re.compile(rb'name="?model"?\r?\n(?:[^\r\n]+\r?\n)*\r?\n([^\r\n]{1,256})\r?\n').search
_in_path = re.compile(r"/(?:models?|deployments|engines)/([^/]+?)(?::[a-zA-Z]+)?(?:/|$)").search


def find(head: bytes, tail: bytes, path: str) -> str | None:
    """Find it in the beginning or the end of a request's body, else in its path."""
    return _in_body(head[:HEAD_BYTES], tail[-HEAD_BYTES:]) or _named_in(path)


def _in_body(head: bytes, tail: bytes) -> str | None:
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


def _named_in(path: str) -> str | None:
    found = _in_path(path)
    return name_of(unquote(found[1])) if found else None
