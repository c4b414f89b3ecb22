"""The paths that need no key, matched against the path that the app routes by, regardless of what a client claims."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote

from keygauge.http.routing import routed_path

_CLAIM = b"daphne-root-path"  # daphne takes the root path from this header, which any client may send
_DECODINGS = 4  # of a path that is passed from server to server; nobody needs one that is encoded more often

_steps = re.compile(r"(?:^|[/\\])\.{1,2}(?:[/\\;?#]|$)").search


def leads_elsewhere(path: str) -> bool:
    """Return whether some servers go from a path to another one: it has segments `.` or `..`, maybe still encoded."""
    for _ in range(_DECODINGS):
        decoded = unquote(path)
        if decoded == path:
            return _steps(path) is not None
        path = decoded
    return True


class OpenPaths:
    """Paths and, with a trailing `*`, path prefixes."""

    def __init__(self, paths: Iterable[str]) -> None:
        paths = tuple(paths)
        self._whole = frozenset(path for path in paths if not path.endswith("*"))
        self._prefixes = tuple(path[:-1] for path in paths if path.endswith("*"))
        self._raw_prefixes = tuple(
            prefix.encode().decode("latin-1") for prefix in self._prefixes
        )  # PEP 3333: bytes as Latin-1
        self._raw_whole = frozenset(path.encode().decode("latin-1") for path in self._whole)

    def has_scope(self, scope: Mapping[str, Any]) -> bool:
        """Return whether an ASGI request needs no key; False if the client claims a root path."""
        paths = routed_path.readings(scope) if scope.get("root_path") else (scope.get("path", ""),)
        for path in paths:
            if path not in self._whole and (not path.startswith(self._prefixes) or leads_elsewhere(path)):
                return False
        return all(name != _CLAIM for name, _ in scope.get("headers", ()))

    def has_environ(self, environ: Mapping[str, Any]) -> bool:
        """Return whether a WSGI request needs no key. SCRIPT_NAME, the app's mount point, plays no part in routing."""
        path = environ.get("PATH_INFO", "")
        return path in self._raw_whole or (path.startswith(self._raw_prefixes) and not leads_elsewhere(path))
