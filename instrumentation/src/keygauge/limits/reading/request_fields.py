"""The fields of a request's body in every way an app may read it: as JSON or a form, repeated, or in capitals.

All of them count: if the app uses the last of two members, or the one in capitals, a call must not evade a limit that
was checked against the other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from keygauge.limits.reading import charset, multipart_form
from keygauge.limits.reading.compressed_body import inflate

BODY_BYTES_MAX = 1 << 20  # of a longer body, only the length is used

_FIELDS_MAX = 1_000
_USUAL_TYPE = "application/json"
_is_kind = re.compile(r"[^\s,*()\"]*").fullmatch  # neither a list nor a pattern
_SPACE = " \t\r\n\ufeff"  # in JSON, and a byte order mark
_BEFORE_JSON = b"\xef\xbb\xbf \t\r\n"
_JSON = (b"{", b"[", b"/")  # some decoders accept comments
_is_number = re.compile(r"[+-]?\d{1,18}").fullmatch


class Members(list[tuple[str, Any]]):
    """All members of a JSON object or a form, in order."""


class Fields(NamedTuple):
    """The members of a body in each of its readings; `hidden` if there may be others that were not found.

    `text` is the content of a compressed body. In a `foreign` charset, apps may read some names and values differently.
    """

    document: Members | None = None
    form: Members | None = None
    hidden: bool = False
    text: bytes = b""
    foreign: bool = False

    @property
    def is_read(self) -> bool:
        """Return whether the body could be read."""
        return self.document is not None or self.form is not None


def read(body: bytes, *, content_type: str = "", content_encoding: str = "") -> Fields:
    """Read a whole body; the result has no members if it is of no readable type.

    An app that ignores encodings reads a compressed body as it is, so that reading counts too.
    """
    if content_type == _USUAL_TYPE and not content_encoding:
        return _read(body, content_type, content_type)
    encoding = content_encoding.strip().lower()
    kind = content_type.partition(";")[0].strip().lower()
    if not _is_kind(kind):
        return Fields(hidden=True)
    if encoding in {"", "identity"}:
        return _read(body, kind, content_type)
    texts = inflate(body, encoding, most=BODY_BYTES_MAX)
    if not texts:
        return Fields(hidden=True)
    inflated = [_read(text, kind, content_type) for text in texts]
    for fields in inflated:
        if not fields.is_read:
            return fields
    has_parts = kind != _MULTIPART or b"content-disposition" in body.lower()
    readings = [*inflated, _read(body, kind, content_type)] if has_parts else inflated
    return _all_of(readings)._replace(text=max(texts, key=len))


def _all_of(readings: Sequence[Fields]) -> Fields:
    documents, forms, hidden, _, foreign = zip(*readings, strict=True)
    return Fields(_joined(documents), _joined(forms), any(hidden), foreign=any(foreign))


def _joined(readings: Iterable[Members | None]) -> Members | None:
    read = [members for members in readings if members is not None]
    return Members(member for members in read for member in members) if read else None


def _read(text: bytes, kind: str, content_type: str) -> Fields:
    is_usual = content_type == kind or charset.is_usual(content_type)
    if kind in _FORMS and not is_usual:
        return Fields(hidden=True)
    try:
        document = _document(text) if is_usual else _any_document(text, content_type)
    except (RecursionError, UnicodeDecodeError):
        return Fields(hidden=True)
    if kind not in _FORMS:
        return Fields(document, foreign=not is_usual)
    form = _FORMS[kind](text, content_type)
    looks_like_json = text.lstrip(_BEFORE_JSON).startswith(_JSON)  # some decoders accept more than ours
    return Fields(document, form, hidden=form is None or (document is None and looks_like_json))


_decode = json.JSONDecoder(object_pairs_hook=Members).raw_decode


def _document(body: bytes) -> Members | None:
    is_utf8 = body.startswith(b"{") and body[1:2] != b"\0"
    encoding = "utf-8" if is_utf8 else json.detect_encoding(body)
    try:
        text = body.decode(encoding, "surrogatepass")
    except UnicodeDecodeError:  # Go and JavaScript replace what is not UTF-8; other charsets don't change the names
        text = body.decode("utf-8", "replace") if encoding.startswith("utf-8") else ""
    return _object(text)


def _any_document(body: bytes, content_type: str) -> Members | None:
    """Read a body as apps do that follow the declared charset, and as those that don't."""
    return _joined([_document(body), *map(_object, charset.decode(body, content_type))])


def _object(text: str) -> Members | None:
    text = text.strip(_SPACE)
    try:
        document, end = _decode(text)
    except ValueError:  # left for the host to report
        return None
    return document if isinstance(document, Members) and end == len(text) else None


def _form(body: bytes, _: str) -> Members | None:
    text = body.decode("latin-1")
    # python-multipart before 0.0.30 also ends a field at a semicolon
    texts = (text, text.replace(";", "&")) if ";" in text else (text,)
    try:
        readings = [parse_qsl(one, keep_blank_values=True, max_num_fields=_FIELDS_MAX) for one in texts]
    except ValueError:
        return None
    return Members((name, _number(value)) for pairs in readings for name, value in pairs)


def _multipart(body: bytes, content_type: str) -> Members | None:
    try:
        fields = multipart_form.read(body, content_type)
    except Exception:  # noqa: BLE001 - hostile input: the header parser raises many exceptions
        return None
    return None if fields is None else Members((name, _number(text)) for name, text in fields)


_MULTIPART = "multipart/form-data"
_FORMS = {"application/x-www-form-urlencoded": _form, _MULTIPART: _multipart}


def _number(text: str) -> str | int:
    return int(text) if _is_number(text) else text
