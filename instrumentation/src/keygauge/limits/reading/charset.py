"""The charset in a content type; in one that is not based on ASCII, names and values have other meanings."""

from __future__ import annotations

import re

_USUAL = frozenset({"utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "latin-1", "latin1", "windows-1252"})
_charsets = re.compile(r'charset[\s*0-9]*=\s*"?([^\s";]*)', re.IGNORECASE).findall


def is_usual(content_type: str) -> bool:
    """Return whether ASCII names read the same in every charset that a content type names."""
    return _USUAL.issuperset(map(str.lower, _charsets(content_type)))
