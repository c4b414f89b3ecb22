"""The models that a request's address names: in its path, its path parameters and its query."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl

LENGTH_MAX = 200

_NAMES = frozenset(
    {"model", "model_id", "modelid", "model_name", "engine", "engine_id", "deployment", "deployment_id", "deploymentid"}
)
_in_path = re.compile(r"/(?:models?|engines|deployments)/((?:arn:[^/]+/)?[^/]+)", re.IGNORECASE).findall
_ARN = re.compile(
    r"^arn:[^/]+:(?:foundation-model|inference-profile)/", re.IGNORECASE
)  # what follows is a model's name
_VERB = re.compile(
    r":(?:(?:stream|batch|async|bidi)*(?:generate|embed|count|compute|predict|raw|server|fetch|create)[a-z]*)$",
    re.IGNORECASE,
)  # Gemini's and Vertex's: `models/gemini-2.0-flash:generateContent`; of others a colon is a part of the name


def in_address(path: str, query: str = "", params: Mapping[str, Any] | None = None) -> tuple[str, ...]:
    """Return all models that an address names; `params` are the path's parameters, as the host's router told them."""
    told = [str(value) for name, value in (params or {}).items() if name.lower() in _NAMES]
    told = [_ARN.sub("", _VERB.sub("", name)) for name in told or _in_path(path)]
    return cut((*told, *in_query(query)))


def in_query(query: str) -> tuple[str, ...]:
    """Return all models that a query names."""
    if not query:
        return ()
    return tuple(value for name, value in parse_qsl(query, keep_blank_values=True) if name.lower() in _NAMES)


def cut(names: Iterable[str]) -> tuple[str, ...]:
    """Return each name once, in order, cut to a length that no model has."""
    return tuple(dict.fromkeys(name[:LENGTH_MAX] for name in names))
