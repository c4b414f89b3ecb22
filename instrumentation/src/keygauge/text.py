"""Cleaning of text from callers or providers for the ledger."""

from __future__ import annotations

LENGTH_MAX = 256  # characters


def printable(text: str) -> str:
    """Truncate a text and replace unprintable characters with question marks."""
    text = text[:LENGTH_MAX]
    return text if text.isprintable() else "".join(one if one.isprintable() else "?" for one in text)
