"""Validation of model names in answers."""

from __future__ import annotations

MAX_CHARACTERS = 256


def name_of(model: object) -> str | None:
    """Return a model's name if it is valid, else None."""
    return model if isinstance(model, str) and 0 < len(model) <= MAX_CHARACTERS else None
