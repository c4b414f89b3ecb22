"""The paths that need no key: matched against the path by which the app routes, whatever a client claims it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from keygauge.http.routing import routed_path

_CLAIM = b"daphne-root-path"  # daphne takes the root path from this header, and any client may send it


class OpenPaths:
    """Paths and, with a trailing `*`, beginnings of paths."""

    def __init__(self, paths: Iterable[str]) -> None:
        paths = tuple(paths)
        self._whole = frozenset(path for path in paths if not path.endswith("*"))
        self._prefixes = tuple(path[:-1] for path in paths if path.endswith("*"))
        self._raw_prefixes = tuple(prefix.encode().decode("latin-1") for prefix in self._prefixes)  # as PEP 3333 has it
        self._raw_whole = frozenset(path.encode().decode("latin-1") for path in self._whole)

    def has_scope(self, scope: Mapping[str, Any]) -> bool:
        """Return whether an ASGI request needs no key; a root path that the client claims opens nothing."""
        paths = routed_path.readings(scope) if scope.get("root_path") else (scope.get("path", ""),)
        for path in paths:
            if path not in self._whole and not path.startswith(self._prefixes):
                return False
        return all(name != _CLAIM for name, _ in scope.get("headers", ()))

    def has_environ(self, environ: Mapping[str, Any]) -> bool:
        """Return whether a WSGI request needs no key. SCRIPT_NAME is the app's mount point and is not routed by."""
        path = environ.get("PATH_INFO", "")
        return path in self._raw_whole or path.startswith(self._raw_prefixes)
