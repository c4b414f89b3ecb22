"""The models named in a request's path, path parameters and query."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

LENGTH_MAX = 200

NAMES = frozenset(
    {"model", "model_id", "modelid", "model_name", "engine", "engine_id", "deployment", "deployment_id", "deploymentid"}
)
_in_path = re.compile(
    r"/(?:(?:models?|engines|deployments)/+|(?:ai/run|workers-ai)/+(?=@))"
    r"((?:arn:[^/]+/|@[^/]+/[^/]+/)?[^/]+(?:/[^/]+(?=/predictions/?$))?)",  # Replicate's are `owner/name`
    re.IGNORECASE,
).findall
_ARN = re.compile(r"^arn:[^/]+:(?:foundation-model|inference-profile)/", re.IGNORECASE)  # followed by a model's name
_VERB = re.compile(
    r":(?:(?:stream|batch|async|bidi)*(?:generate|embed|count|compute|predict|raw|server|fetch|create)[a-z]*)$",
    re.IGNORECASE,
)  # Gemini's and Vertex's: `models/gemini-2.0-flash:generateContent`; elsewhere a colon is part of the name


def in_address(path: str, query: str = "", params: Mapping[str, Any] | None = None) -> tuple[str, ...]:
    """Return all models that an address names; `params` are the path parameters from the host's router."""
    if not params and not query and len(path) <= LENGTH_MAX:
        return _in_short_path(path)
    named = [str(value) for name, value in (params or {}).items() if name.lower() in NAMES]
    return cut((*_plain(named or _in_path(path)), *in_query(query)))


@lru_cache(maxsize=256)  # used for each call of a model
def _in_short_path(path: str) -> tuple[str, ...]:
    return cut(_plain(_in_path(path)))


def _plain(names: Iterable[str]) -> list[str]:
    return [_ARN.sub("", _VERB.sub("", name)) for name in names]


@lru_cache(maxsize=256)  # used for each successful call; takes no query, which may hold what must not be kept
def in_path(path: str) -> tuple[str, ...]:
    """Return all models that a path names."""
    return in_address(path)


def in_query(query: str) -> tuple[str, ...]:
    """Return all models that a query names."""
    if not query:
        return ()
    texts = (query, query.replace(";", "&")) if ";" in query else (query,)  # some servers also end a field there
    fields = [field for text in texts for field in parse_qsl(text, keep_blank_values=True)]
    return tuple(value for name, value in fields if name.lower() in NAMES)


def cut(names: Iterable[str]) -> tuple[str, ...]:
    """Return each name once, in order, cut to a length that no model has; split LiteLLM's comma-separated lists."""
    names = tuple(names)
    if not names or (len(names) == 1 and len(names[0]) <= LENGTH_MAX and "," not in names[0]):
        return names
    return tuple(dict.fromkeys(one[:LENGTH_MAX] for name in names for one in _each(name)))


def _each(name: str) -> list[str]:
    return [one.strip() for one in name.split(",")] if "," in name else [name]
