"""The fields of a multipart form (RFC 7578), read in linear time.

Parsers differ in what they accept as a boundary, a header or a name. Only forms that all of them read alike are read
here; clients write no others.
"""

from __future__ import annotations

import re

from keygauge.limits.reading import charset

_PARTS_MAX = 100
_HEAD_BYTES_MAX = 1024  # of a part's headers, and of the content type
_AS_IT_IS = frozenset({b"", b"7bit", b"8bit", b"binary"})  # transfer encodings that change nothing
_FOR_ALL = "_charset_"  # the field with the charset of the others (RFC 7578, 4.6)

# RFC 2231 has more forms of a parameter, `name*` and `name*0`, which only some parsers know.
_boundaries = re.compile(r"(?<![a-z])boundary[\s*0-9]*=", re.IGNORECASE).findall
_boundary = re.compile(
    r""";\s*boundary=(?:"([^\s"'<>\\]+)"|([\w!#$%&*+.^`|~-]+))\s*(?:;|$)""", re.IGNORECASE | re.ASCII
).search
_names = re.compile(rb"(?<![a-z])name[\s*0-9]*=", re.IGNORECASE).findall
_name = re.compile(rb""";\s*name=(?:"([^"\\\x00-\x1f]*)"|([\w!#$%&*+.^`|~-]+))\s*(?:;|$)""", re.IGNORECASE).search


def read(body: bytes, content_type: str) -> list[tuple[str, str]] | None:
    """Return the name and content of each part; None if parsers may read the form differently."""
    parts = _split(body, content_type)
    fields = [_read(part) for part in parts or ()]
    return None if parts is None or None in fields else [field for field in fields if field is not None]


def _split(body: bytes, content_type: str) -> list[bytes] | None:
    """Split at the boundary; None if there is text before the first one, or one is not on its own line."""
    found = _boundary(content_type) if len(content_type) <= _HEAD_BYTES_MAX else None
    if found is None or len(_boundaries(content_type)) != 1 or not found[0].isascii():
        return None
    boundary = b"--" + (found[1] or found[2]).encode()
    before, *parts = (b"\r\n" + body).split(b"\r\n" + boundary, _PARTS_MAX + 2)
    if before.strip() or not parts or not parts[-1].startswith(b"--") or len(parts) > _PARTS_MAX + 1:
        return None
    return parts[:-1] if body.count(boundary) == len(parts) else None


def _read(part: bytes) -> tuple[str, str] | None:
    head, blank, content = part.partition(b"\r\n\r\n")
    if not blank or not head.startswith(b"\r\n") or len(head) > _HEAD_BYTES_MAX:
        return None
    fields = _fields(head[2:])
    disposition = fields.get(b"content-disposition", b"")
    found = _name(disposition)
    is_encoded = fields.get(b"content-transfer-encoding", b"").lower() not in _AS_IT_IS
    is_usual = charset.is_usual(fields.get(b"content-type", b"").decode("latin-1"))
    if found is None or len(_names(disposition)) != 1 or is_encoded or not is_usual:
        return None
    name, value = (found[1] or found[2] or b"").decode(errors="replace").strip(), content.decode(errors="replace")
    return None if name.lower() == _FOR_ALL and not charset.is_usual(f"charset={value}") else (name, value)


def _fields(head: bytes) -> dict[bytes, bytes]:
    """Parse a part's headers; empty if one is repeated or folded."""
    lines = head.split(b"\r\n")
    if any(line[:1].isspace() or b"\n" in line or b"\r" in line for line in lines):
        return {}
    fields = {name.strip().lower(): text.strip() for name, _, text in (line.partition(b":") for line in lines)}
    return fields if len(fields) == len(lines) else {}
