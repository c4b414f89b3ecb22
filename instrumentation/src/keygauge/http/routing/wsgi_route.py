"""The route template of a WSGI request: what the host's router matches, in full, and never the path itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keygauge.call import UNMATCHED, OpenRoute
from keygauge.http.routing import layers, router
from keygauge.http.routing.layers import Layer, Walk


def noted(environ: Mapping[str, Any]) -> str | None:
    """Return the rule that Flask matched, while it answers: Werkzeug keeps the request in the environ until then."""
    request: Any = environ.get("werkzeug.request")
    if request is None or not hasattr(request, "url_rule"):
        return None
    return UNMATCHED if request.url_rule is None else str(request.url_rule.rule)


def follow(environ: Mapping[str, Any], app: Any) -> Walk:
    """Follow a request through the app's layers in the way it will be routed.

    The template is UNMATCHED if no route takes the request, None if the host's router is not known.
    """
    walk = Walk()
    try:
        walk.template = _walk(app, dict(environ), walk)
    except Exception:  # noqa: BLE001 - a router with unexpected behavior counts as unknown
        walk.template = None
    return walk


def path_seen(environ: Mapping[str, Any]) -> str:
    """Return the path that the app routes by, as text."""
    path: str = environ.get("PATH_INFO", "")
    return path.encode("latin-1", "replace").decode(errors="replace")


def _walk(app: Any, environ: dict[str, Any], walk: Walk) -> str | None:
    host, between = layers.find(app, is_host)
    seen = dict(environ)  # before it is dispatched
    walk.passed.append(lambda: [Layer(layer, path_seen(seen), seen) for layer in (*between, host)])
    if router.is_known(host):
        match = router.match(host, path_seen(environ), environ.get("REQUEST_METHOD", "GET"), environ)
        walk.params.update(match.params if match else {})
        return match and match.template
    if host is None:
        return UNMATCHED if layers.are_without_routes(between) else None
    mount, inner = _dispatch(host, environ)
    below = _walk(inner, environ, walk)
    is_whole = bool(mount) and layers.find(inner, is_host)[0] is None  # the mount is all that is known
    if below in {None, UNMATCHED} and not is_whole:
        return below
    template = mount + (OpenRoute.REST if is_whole else str(below))
    return OpenRoute(template) if below is None or isinstance(below, OpenRoute) else template


def _dispatch(dispatcher: Any, environ: dict[str, Any]) -> tuple[str, Any]:
    """Choose an app like Werkzeug's DispatcherMiddleware: by the longest mount that is a prefix of whole segments."""
    mount, rest = environ.get("PATH_INFO", ""), ""
    while mount not in dispatcher.mounts and "/" in mount:
        mount, _, last = mount.rpartition("/")
        rest = f"/{last}{rest}"
    environ["SCRIPT_NAME"] = environ.get("SCRIPT_NAME", "") + mount
    environ["PATH_INFO"] = rest
    return mount, dispatcher.mounts.get(mount, dispatcher.app)


def is_host(app: Any) -> bool:
    """Return whether an app's router is known, or the app dispatches requests by path."""
    return router.is_known(app) or isinstance(getattr(app, "mounts", None), Mapping)
