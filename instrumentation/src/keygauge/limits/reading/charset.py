"""The charset that a content type names: in one that is not much like ASCII, names and values say something else."""

from __future__ import annotations

import re

_USUAL = frozenset({"utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "latin-1", "latin1", "windows-1252"})
_charsets = re.compile(r'charset[\s*0-9]*=\s*"?([^\s";]*)', re.IGNORECASE).findall


def is_usual(content_type: str) -> bool:
    """Return whether names in ASCII read the same by every charset that a content type names."""
    return _USUAL.issuperset(map(str.lower, _charsets(content_type)))
