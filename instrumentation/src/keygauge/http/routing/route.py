"""The route template of an ASGI request: what the host's routers match, in full, and never the path itself.

Limits, permissions, the ledger and the metrics all use the template found here, before or after the host is called.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from keygauge.call import UNMATCHED, OpenRoute
from keygauge.http.routing import layers, router
from keygauge.http.routing.layers import Layer, Walk

Scope = Mapping[str, Any]


def find(scope: Scope, app: Any, *, path: str | None = None, noted: str | None = None) -> str | None:
    """Return the host's template for a request, UNMATCHED if no route takes it, None if its router is not known.

    `path` is the request's original path, `noted` the template that an inner router has matched, if known.
    """
    noted = noted or scope.get("path_template")  # Litestar leaves its own
    if "app_root_path" not in scope and (taken := noted or _taken(scope)):
        return taken
    return follow(scope if path is None else {**scope, "path": path}, app, noted=noted).template


def follow(scope: Scope, app: Any, *, noted: str | None = None) -> Walk:
    """Follow a request through the host's layers and routers in the way they will route it."""
    walk = Walk(noted)
    try:
        walk.template = _walk(*_start(scope, app), walk)
    except Exception:  # noqa: BLE001 - a router with unexpected behavior counts as unknown
        walk.template = None
    return walk


def _taken(scope: Scope) -> str | None:
    """Return the template that Starlette (1.7 or newer) or FastAPI has left in the scope; None inside mounts."""
    route = scope.get("route")
    if route is None or not _is(route, "Route", "WebSocketRoute"):
        return None
    context = scope["fastapi"].get("effective_route_context") if "fastapi" in scope else None
    if context is None:
        return route.path_format  # type: ignore[no-any-return]  # Starlette's, untyped here
    return _path(context) if getattr(context, "original_route", None) is route else None


def _start(scope: Scope, app: Any) -> tuple[Any, dict[str, Any]]:
    """Return the app to start from, and the scope as it arrived there.

    Starlette leaves its outermost router in the scope, and the root path from before its mounts.
    """
    start = {name: value for name, value in scope.items() if name != "fastapi"}
    if _is(scope.get("router"), "Router"):
        start["root_path"] = scope.get("app_root_path", scope.get("root_path", ""))
        return scope["router"], start
    return scope.get("app") or app, start


def _walk(app: Any, scope: dict[str, Any], walk: Walk) -> str | None:
    """Match like the app, down to the last mount."""
    host, between = layers.find(app, is_host)
    walk.passed.append(lambda: _layers([*between, host], scope))
    routes = _routes(host)
    if routes is None:
        if host is None and layers.are_without_routes(between):
            return walk.noted or UNMATCHED
        match = router.match_scope(host, scope)
        if match is not None:
            walk.params.update(scope.get("path_params") or {}, **match.params)
        return walk.noted or (match and match.template)
    root_path = getattr(host, "root_path", None)  # FastAPI's own
    inner = {**scope, "root_path": root_path} if root_path else scope
    partial = None
    for matcher, route in _each(routes):
        match, child = matcher.matches(inner)
        if match.name == "FULL":
            return _enter(route, {**inner, **child}, walk)
        if match.name == "PARTIAL" and partial is None:  # matching path, other method
            partial = (route, {**inner, **child})
    return _enter(*partial, walk) if partial else UNMATCHED


def _enter(route: Any, scope: dict[str, Any], walk: Walk) -> str | None:
    if _is(route, "Mount"):
        inner = _walk(route.app, scope, walk)
        mount: str = route.path_format.removesuffix(OpenRoute.REST)
        template = mount + (OpenRoute.REST if inner in {None, UNMATCHED} else str(inner))
        return OpenRoute(template) if inner is None or isinstance(inner, OpenRoute) else template
    if _is(route, "Host"):
        return _walk(route.app, scope, walk)
    walk.passed.append(lambda: _layers(layers.find(getattr(route, "app", None), is_host)[1], scope))
    walk.params.update(scope.get("path_params") or {})
    return _path(route) or UNMATCHED


def _layers(apps: Iterable[Any], scope: Scope) -> list[Layer]:
    return [Layer(app, router.path_seen(app, scope)) for app in apps]


def _each(routes: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    """Return matchers with their routes: FastAPI's included routers have several matchers."""
    for route in routes:
        if not hasattr(route, "effective_route_contexts"):
            yield route, route
            continue
        for context in route.effective_route_contexts():
            yield context, getattr(context, "starlette_route", None) or context


def is_host(app: Any) -> bool:
    """Return whether an app's router is known, so that it can match requests."""
    return _routes(app) is not None or router.is_known(app)


def _routes(host: Any) -> Iterable[Any] | None:
    """Return the routes of a Starlette-like app or router."""
    own = host if _is(host, "Router") else getattr(host, "router", None)
    return own.routes if own is not None and _is(own, "Router") else None


def _path(route: Any) -> str | None:
    path = getattr(route, "path_format", None) or getattr(route, "path", None)
    return path if isinstance(path, str) else None


def _is(found: Any, *names: str) -> bool:
    """Return whether an object is an instance of one of the named classes in `starlette.routing`."""
    return _is_kind(found.__class__, names)


@lru_cache  # called for each layer of each request; a process has few classes of apps and routes
def _is_kind(kind: type, names: tuple[str, ...]) -> bool:
    module = sys.modules.get("starlette.routing")  # if not imported, there are no instances
    return module is not None and issubclass(kind, tuple(getattr(module, name) for name in names))
