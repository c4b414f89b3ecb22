"""Validation of model names in answers."""

from __future__ import annotations

MAX_CHARACTERS = 256
_RESOURCES = ("models/gemini", "projects/")  # Gemini's and Vertex AI's


def name_of(model: object) -> str | None:
    """Return a model's name if it is valid, else None; Gemini's without its resource, as its answers have it."""
    if not isinstance(model, str) or not 0 < len(model) <= MAX_CHARACTERS:
        return None
    return model.rpartition("models/")[2] if model.startswith(_RESOURCES) else model
