"""Text that callers or providers wrote, as the ledger keeps it."""

from __future__ import annotations

LENGTH_MAX = 256  # characters


def printable(text: str) -> str:
    """Cut a text, and put a question mark for what does not print."""
    text = text[:LENGTH_MAX]
    return text if text.isprintable() else "".join(one if one.isprintable() else "?" for one in text)
