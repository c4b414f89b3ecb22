"""JSON for browsers, which parse numbers as doubles: integers that would be rounded are written as strings."""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify

EXACT_MAX = 2**53 - 1


def exact_json(document: Any) -> Response:
    """Return a portal response; the API's responses are for clients that parse 64-bit integers."""
    return jsonify(_exact(document))


def _exact(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _exact(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_exact(part) for part in value]
    if isinstance(value, int) and abs(value) > EXACT_MAX:
        return str(value)
    return value
