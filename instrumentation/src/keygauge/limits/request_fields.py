"""What a request's body says, by every meaning that an app may give it: as JSON or a form, twice, or in capitals.

A server that reads the last of two members, or the one in capitals, must not get past a limit that was held against the
other: all of them count.
"""

from __future__ import annotations

import json
import re
import zlib
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from keygauge.limits import multipart_form

BODY_BYTES_MAX = 1 << 20  # of a longer body nothing is read but its length

_FIELDS_MAX = 1_000
_is_number = re.compile(r"[+-]?\d{1,18}").fullmatch


class Members(list[tuple[str, Any]]):
    """An object of JSON, or a form: its members in their order, all of them."""


class Fields(NamedTuple):
    """The members of a body by each of its readings; `hidden` where there may be some that were not found."""

    document: Members | None = None
    form: Members | None = None
    hidden: bool = False


def read(body: bytes, *, content_type: str = "", content_encoding: str = "") -> Fields:
    """Read a whole body; without members where it is none of what can be read."""
    encoding = content_encoding.strip().lower()
    if encoding not in {"", "identity"}:
        decoded = _inflate(body) if encoding in {"gzip", "x-gzip", "deflate"} else None
        if decoded is None:
            return Fields(hidden=True)
        body = decoded
    try:
        document = _document(body)
    except RecursionError:
        return Fields(hidden=True)
    kind = content_type.partition(";")[0].strip().lower()
    if kind not in _FORMS:
        return Fields(document)
    form = _FORMS[kind](body, content_type)
    return Fields(document, form, hidden=form is None)


def _document(body: bytes) -> Members | None:
    try:
        document = json.loads(body, object_pairs_hook=Members) if body else None
    except ValueError:  # the host will say what is wrong with it
        return None
    return document if isinstance(document, Members) else None


def _form(body: bytes, _: str) -> Members | None:
    try:
        pairs = parse_qsl(body.decode("latin-1"), keep_blank_values=True, max_num_fields=_FIELDS_MAX)
    except ValueError:
        return None
    return Members((name, _number(value)) for name, value in pairs)


def _multipart(body: bytes, content_type: str) -> Members | None:
    try:
        fields = multipart_form.read(body, content_type)
    except Exception:  # noqa: BLE001 - hostile input: the parser of its heads raises many kinds
        return None
    return None if fields is None else Members((name, _number(text)) for name, text in fields)


_FORMS = {"application/x-www-form-urlencoded": _form, "multipart/form-data": _multipart}


def _number(text: str) -> str | int:
    return int(text) if _is_number(text) else text


def _inflate(body: bytes) -> bytes | None:
    """Inflate a body within the bound; None where that cannot be done, or not to its end."""
    for window in (zlib.MAX_WBITS | 32, -zlib.MAX_WBITS):  # gzip and zlib by their head; deflate without one
        try:
            inflater = zlib.decompressobj(window)
            text = inflater.decompress(body, BODY_BYTES_MAX + 1)
        except zlib.error:
            continue
        return text if inflater.eof and not inflater.unused_data and len(text) <= BODY_BYTES_MAX else None
    return None
