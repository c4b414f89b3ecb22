"""The name of a model, as an answer gives it."""

from __future__ import annotations

MAX_CHARACTERS = 256


def name_of(model: object) -> str | None:
    """Take a model's name if it can be one."""
    return model if isinstance(model, str) and 0 < len(model) <= MAX_CHARACTERS else None
