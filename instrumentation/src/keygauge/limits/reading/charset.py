"""The charset in a content type; in one that is not based on ASCII, names and values have other meanings."""

from __future__ import annotations

import re
from contextlib import suppress
from encodings import aliases

_USUAL = frozenset({"utf_8", "ascii", "latin_1", "cp1252"})
_KNOWN = frozenset(aliases.aliases.values())  # not those that take long to decode, such as punycode
_names = re.compile(r'charset[\s*0-9]*=\s*"?([^\s";]*)', re.IGNORECASE).findall
_separators = re.compile(r"[^a-z0-9]+")


def is_usual(content_type: str) -> bool:
    """Return whether ASCII names read the same in every charset that a content type names."""
    return _USUAL.issuperset(map(_codec, _names(content_type)))


def decode(body: bytes, content_type: str) -> list[str]:
    """Decode a body in each charset that its content type names, except unknown ones.

    Raises:
        UnicodeDecodeError: the body is not in one of these charsets.
    """
    texts = []
    for codec in {_codec(name) for name in _names(content_type)} - {""}:
        with suppress(LookupError):  # unknown, or not a charset
            texts.append(body.decode(codec))
    return texts


def _codec(name: str) -> str:
    """Return Python's name of a charset; empty if it is unknown.

    Python would keep every name that it is asked for.
    """
    name = _separators.sub("_", name.lower()).strip("_")
    codec = aliases.aliases.get(name, name)
    return codec if codec in _KNOWN else ""
