"""The route template of a request: what the host's router matched, never the path itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keygauge.call import UNMATCHED
from keygauge.http import router

_MOUNTED = "/{path}"  # how Starlette ends the template of a mount


def template(scope: Mapping[str, Any], noted: str = UNMATCHED) -> str:
    """Return the whole template, mounts included, from an ASGI scope that the host has routed.

    Starlette (>= 1.7) and FastAPI leave their route in the scope; for an included router FastAPI leaves the whole one.
    Litestar leaves its template. What others matched `keygauge.router` has noted in the call.
    """
    own = noted if noted is not UNMATCHED else scope.get("path_template")
    if own is not None:
        return (_mount(scope) if "app_root_path" in scope else "") + own
    route = scope.get("route")
    if route is None:
        return UNMATCHED
    path = (_included_path(scope["fastapi"]) if "fastapi" in scope else None) or _path(route)
    if path is None:
        return UNMATCHED
    if "app_root_path" not in scope:
        return path
    if path.endswith(_MOUNTED) and hasattr(route, "routes"):  # a mount that nothing below took up
        return _mount(scope) + _MOUNTED
    return _mount(scope) + path


def before(scope: Mapping[str, Any], app: Any) -> str:
    """Return the template that the host would match, for a request it does not get to see.

    Starlette is found in the scope where the middleware was added to it, else it is the app inside.
    """
    host = scope.get("app") or getattr(app, "__self__", app)
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    for route in getattr(getattr(host, "router", None), "routes", ()):
        match, child = route.matches(scope)
        if match.name == "FULL":
            if hasattr(route, "effective_route_contexts"):
                return _included_match(route, path, scope.get("method")) or UNMATCHED
            return template({**scope, "route": route, **child})
    return router.match(host, path, scope.get("method", "GET")) or UNMATCHED


def _included_match(route: Any, path: str, method: str | None) -> str | None:
    """Return the template that an included router of FastAPI matches: its own `matches` does not tell which."""
    for context in route.effective_route_contexts():
        matcher = getattr(context, "starlette_route", None) or context
        regex, methods = getattr(matcher, "path_regex", None), getattr(matcher, "methods", None)
        if regex is not None and regex.match(path) and (not methods or method in methods):
            return _path(matcher) or _path(context)
    return None


def _included_path(fastapi: Mapping[str, Any]) -> str | None:
    context = fastapi.get("effective_route_context")
    return _path(getattr(context, "starlette_route", None)) or _path(context)


def _path(route: Any) -> str | None:
    path = getattr(route, "path_format", None) or getattr(route, "path", None)
    return path if isinstance(path, str) else None


def _mount(scope: Mapping[str, Any]) -> str:
    """Return the prefix that mounts took off the path, with their parameters' names in place of the values."""
    prefix = str(scope.get("root_path", "")).removeprefix(str(scope["app_root_path"]))
    names = {str(value): name for name, value in scope.get("path_params", {}).items()}
    return "/".join(f"{{{names[part]}}}" if part in names else part for part in prefix.split("/"))
