"""The path that a framework routes an ASGI request by: each takes the `root_path` away in its own way."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Any

Scope = Mapping[str, Any]

_slashes = re.compile("//+")


def of_starlette(scope: Scope) -> str:
    """Return the part below the `root_path`, where the path begins with it by whole names."""
    path: str = scope.get("path", "")
    root = scope.get("root_path")
    if not root or not path.startswith(root):
        return path
    below = path[len(root) :]
    return below if below.startswith("/") else path if below else "/"


def of_litestar(scope: Scope) -> str:
    """Return what follows the `root_path`, wherever that is, with single slashes and none at the end."""
    path: str = scope.get("path", "")
    root = scope.get("root_path")
    below = path.split(root, maxsplit=1)[-1] if root else path
    return _slashes.sub("/", f"/{below.strip('/')}")


def of_quart(scope: Scope) -> str:
    """Return what follows the `root_path`; a path that does not begin with it is none of the app's."""
    path: str = scope.get("path", "")
    root = scope.get("root_path", "")
    if not root:
        return path
    return path.removeprefix(root) if path.startswith(root) and path != root else " "  # which no route has


def of_django(scope: Scope) -> str:
    """Return what follows the `root_path`, or the prefix that Django is told to take for it."""
    path: str = scope.get("path", "")
    return path.removeprefix(sys.modules["django.conf"].settings.FORCE_SCRIPT_NAME or scope.get("root_path") or "")


def of_falcon(scope: Scope) -> str:
    """Return the whole path: Falcon does not look at the `root_path`."""
    path: str = scope.get("path") or "/"
    return path


def of_wsgi(scope: Scope) -> str:
    """Return what adapters from ASGI to WSGI give an app for its PATH_INFO."""
    path: str = scope.get("path", "")
    return path.removeprefix(scope.get("root_path") or "")


def readings(scope: Scope) -> set[str]:
    """Return all that an app may take for the path, where a server has a `root_path`."""
    path: str = scope.get("path", "")
    anywhere = path.split(scope["root_path"], maxsplit=1)[-1]
    return {of_starlette(scope), f"/{anywhere.lstrip('/')}", f"/{of_wsgi(scope).lstrip('/')}"}
