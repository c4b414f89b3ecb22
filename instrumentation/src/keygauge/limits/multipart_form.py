"""The fields of a multipart form (RFC 7578), read in a time that grows no faster than the form."""

from __future__ import annotations

import re
from email.message import Message
from email.parser import BytesParser
from email.policy import HTTP

_PARTS_MAX = 100
_HEAD_BYTES_MAX = 1024  # of a part, and of the content type: the standard library reads parameters in quadratic time

_names = re.compile(rb"""(?<![a-z])name\*?\s*=\s*(?:utf-8'[^']*')?["']?model\b""", re.IGNORECASE).findall


def read(body: bytes, content_type: str) -> list[tuple[str, str]] | None:
    """Return name and content of each part; None where a model may be there that was not found, or reads in two ways.

    Servers differ in what they take for a boundary or a parameter, but all of them find a model by its name: there must
    be as many of these in the whole body as there are parts that have it.
    """
    parts = _split(body, content_type)
    fields = [_read(part) for part in parts or ()]
    if parts is None or None in fields:
        return None
    found = [field for field in fields if field is not None]
    return found if sum(name.lower() == "model" for name, _ in found) == len(_names(body)) else None


def _split(body: bytes, content_type: str) -> list[bytes] | None:
    head = Message()
    head["Content-Type"] = content_type[: _HEAD_BYTES_MAX + 1]
    boundary = head.get_boundary() or ""
    if len(content_type) > _HEAD_BYTES_MAX or not boundary.isascii() or not boundary:
        return None
    _, *parts = (b"\r\n" + body).split(b"\r\n--" + boundary.encode(), _PARTS_MAX + 2)
    if not parts or not parts[-1].startswith(b"--") or len(parts) > _PARTS_MAX + 1:
        return None
    return parts[:-1]


def _read(part: bytes) -> tuple[str, str] | None:
    head, blank, content = part.partition(b"\r\n\r\n")
    if not blank or not head.startswith(b"\r\n") or len(head) > _HEAD_BYTES_MAX:
        return None
    fields = BytesParser(policy=HTTP).parsebytes(head[2:] + blank, headersonly=True)
    if "content-transfer-encoding" in fields:
        return None
    name = fields.get_param("name", "", header="content-disposition")
    return str(name), content.decode(errors="replace")
