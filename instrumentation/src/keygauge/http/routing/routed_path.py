"""The path that a framework routes an ASGI request by: each strips the `root_path` in its own way."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Any

Scope = Mapping[str, Any]

_slashes = re.compile("//+")


def of_starlette(scope: Scope) -> str:
    """Return the path without the `root_path`, if that is a prefix of whole segments."""
    path: str = scope.get("path", "")
    root = scope.get("root_path")
    if not root or not path.startswith(root):
        return path
    below = path[len(root) :]
    return below if below.startswith("/") else path if below else "/"


def of_litestar(scope: Scope) -> str:
    """Return the part after the `root_path`, anywhere in the path, with single slashes and no trailing one."""
    path: str = scope.get("path", "")
    root = scope.get("root_path")
    below = path.split(root, maxsplit=1)[-1] if root else path
    return _slashes.sub("/", f"/{below.strip('/')}")


def of_quart(scope: Scope) -> str:
    """Return the part after the `root_path`; a path without that prefix matches no route."""
    path: str = scope.get("path", "")
    root = scope.get("root_path", "")
    if not root:
        return path
    return path.removeprefix(root) if path.startswith(root) and path != root else " "  # matches no route


def of_django(scope: Scope) -> str:
    """Return the part after Django's FORCE_SCRIPT_NAME setting, or else after the `root_path`."""
    path: str = scope.get("path", "")
    return path.removeprefix(sys.modules["django.conf"].settings.FORCE_SCRIPT_NAME or scope.get("root_path") or "")


def of_falcon(scope: Scope) -> str:
    """Return the whole path: Falcon ignores the `root_path`."""
    path: str = scope.get("path") or "/"
    return path


def of_wsgi(scope: Scope) -> str:
    """Return the PATH_INFO that ASGI-to-WSGI adapters give an app."""
    path: str = scope.get("path", "")
    return path.removeprefix(scope.get("root_path") or "")


def readings(scope: Scope) -> set[str]:
    """Return all paths that an app may route by if the scope has a `root_path`."""
    path: str = scope.get("path", "")
    anywhere = path.split(scope["root_path"], maxsplit=1)[-1]
    return {of_starlette(scope), f"/{anywhere.lstrip('/')}", f"/{of_wsgi(scope).lstrip('/')}"}
