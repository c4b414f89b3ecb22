"""Frameworks' own routers: what they have matched, recorded at that time, and what they would match.

Django, Falcon, Quart and Datasette leave no trace of their match in scope or environ, but match in a single method or
function. It is wrapped if the framework is already imported; no framework is imported for this.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from keygauge.call import CURRENT, UNMATCHED
from keygauge.http.routing import routed_path
from keygauge.telemetry import tracing

_Found = tuple[Any, dict[str, Any]]  # a template and the path's parameters
_WEBSOCKET = "WEBSOCKET"  # in place of an HTTP method


class Match(NamedTuple):
    """A route that a router found for a request."""

    template: str
    params: dict[str, Any]


NOTHING = Match(UNMATCHED, {})


@dataclass(frozen=True)
class Router:
    """The method in which a framework matches, and how to read the template from its result."""

    module: str
    owner: str  # a class; "" for a function of the module
    method: str
    read: Callable[[Any, Any], str | None]  # (the method's owner, what the method returned)

    def find(self) -> tuple[Any, Any]:
        """Return the method's owner and the method; None for both if the framework is not imported."""
        module = sys.modules.get(self.module)
        owner = getattr(module, self.owner, None) if self.owner else module
        return owner, getattr(owner, self.method, None)


def _quart(context: Any, _: Any) -> str | None:
    rule = context.request_websocket.url_rule
    return None if rule is None else rule.rule


def _datasette(_: Any, found: Any) -> str | None:
    """Convert the matched regular expression to a template, with named groups as parameters."""
    if found[0] is None:
        return None
    template = re.sub(r"\(\?P<(\w+)>(?:[^()\\]|\\.)*\)", r"{\1}", found[0].re.pattern)
    return template.removesuffix("$").replace("\\.", ".")


ROUTERS = (
    Router("django.core.handlers.base", "BaseHandler", "resolve_request", lambda _, match: f"/{match.route}"),
    Router("falcon.app", "App", "_get_responder", lambda _, found: found[3]),
    Router("quart.ctx", "_BaseRequestWebsocketContext", "match_request", _quart),
    Router("datasette.app", "", "resolve_routes", _datasette),
)


def follow() -> None:
    """Start recording what the imported frameworks match; safe to repeat."""
    for router in ROUTERS:
        owner, match = router.find()
        if match is not None and not hasattr(match, "keygauge_router"):
            setattr(owner, router.method, _noting(match, router))


def is_known(host: Any) -> bool:
    """Return whether `match` can use an app's router."""
    return _kind(host) is not None


def path_seen(app: Any, scope: Mapping[str, Any]) -> str:
    """Return the path of an ASGI request as an app sees it; unknown apps are treated like Starlette."""
    kind = _kind(app)
    return routed_path.of_starlette(scope) if kind is None else kind.path(scope)


def match_scope(host: Any, scope: Mapping[str, Any]) -> Match | None:
    """Return what a host's router would match for an ASGI request."""
    method = _WEBSOCKET if scope.get("type") == "websocket" else scope.get("method", "GET")
    return match(host, path_seen(host, scope), method)


def match(host: Any, path: str, method: str, environ: dict[str, Any] | None = None) -> Match | None:
    """Return what a host's router would match; `path` is relative to the host's mount.

    None if the router is not known, or the path alone does not determine the match.
    """
    kind = _kind(host)
    if kind is None:
        return None
    try:
        template, params = kind.ask(host, path, method, environ)
    except Exception:  # noqa: BLE001 - no such route, wrong method, a redirect: each framework raises its own
        return None if _looks_elsewhere(host) else NOTHING
    return Match(str(template), params or {})


def _kind(host: Any) -> _Kind | None:
    return _kind_of(host.__class__)


@functools.lru_cache  # called for each layer of each request; a process has few classes of apps
def _kind_of(app: type) -> _Kind | None:
    return next((kind for kind in _KINDS if kind.has(app)), None)


def _werkzeug(host: Any, path: str, method: str, environ: dict[str, Any] | None) -> _Found:
    """Match like Flask from the environ, or like Quart from the path."""
    if environ is None and host.subdomain_matching:
        raise LookupError
    if environ is None:
        adapter = host.url_map.bind("localhost", path_info=path)
    else:
        adapter = host.create_url_adapter(host.request_class(environ, populate_request=False))
    is_websocket = method == _WEBSOCKET
    found: _Found = adapter.match(method="GET" if is_websocket else method, return_rule=True, websocket=is_websocket)
    return found


def _django(_host: Any, path: str, *_: object) -> _Found:
    match = sys.modules["django.urls"].get_resolver().resolve(path)
    return f"/{match.route}", match.kwargs


def _litestar(host: Any, path: str, method: str, _: object) -> _Found:
    *_, params, template = host.asgi_router.handle_routing(path=path, method=None if method == _WEBSOCKET else method)
    return template, params


def _falcon(host: Any, path: str, *_: object) -> _Found:
    if host.req_options.strip_url_path_trailing_slash and len(path) > 1:
        path = path.removesuffix("/")
    *_, params, template = host._router.find(path)  # noqa: SLF001 - the app's own `find` is not public
    return template, params


def answers_options(host: Any, path: str, environ: dict[str, Any] | None) -> bool:
    """Return whether Flask or Quart itself answers OPTIONS for a path, without the view."""
    try:
        return bool(_werkzeug(host, path, "OPTIONS", environ)[0].provide_automatic_options)
    except Exception:  # noqa: BLE001 - as in `match`
        return False


def _looks_elsewhere(host: Any) -> bool:
    """Return whether more than the path decides: Django middleware that sets the URLs, or rules with host names."""
    return type(host).__module__.startswith("django.") or any(
        getattr(asked, name, False)
        for asked, name in ((getattr(host, "url_map", None), "host_matching"), (host, "subdomain_matching"))
    )


class _Kind(NamedTuple):
    """A framework: how to recognize its apps, how they match, and the path they route by under ASGI."""

    has: Callable[[type], bool]
    ask: Callable[..., _Found]
    path: Callable[[Mapping[str, Any]], str]


def _is_of(*modules: str) -> Callable[[type], bool]:
    return lambda app: app.__module__.startswith(modules)


def _has(*names: str) -> Callable[[type], bool]:
    return lambda app: all(hasattr(app, name) for name in names)


_KINDS = (
    _Kind(_has("create_url_adapter", "websocket_class"), _werkzeug, routed_path.of_quart),
    _Kind(_has("create_url_adapter"), _werkzeug, routed_path.of_wsgi),
    _Kind(_is_of("django.core.handlers.asgi"), _django, routed_path.of_django),
    _Kind(_is_of("django.core.handlers."), _django, routed_path.of_wsgi),
    _Kind(_has("asgi_router", "asgi_handler"), _litestar, routed_path.of_litestar),
    _Kind(_is_of("falcon.asgi."), _falcon, routed_path.of_falcon),
    _Kind(_is_of("falcon."), _falcon, routed_path.of_wsgi),
)


def _noting(match: Callable[..., Any], router: Router) -> Callable[..., Any]:
    @functools.wraps(match)
    def noting(self: Any, *args: Any, **options: Any) -> Any:
        found = match(self, *args, **options)
        call = CURRENT.get()
        if call is not None:
            try:
                call.matched = router.read(self, found) or call.matched
                if call.context is None and tracing.current():  # contrib's Django span ends before the answer begins
                    tracing.find_inside(call)
            except Exception:  # noqa: BLE001 - unexpected router behavior costs the label, not the call
                return found
        return found

    noting.keygauge_router = router  # type: ignore[attr-defined]  # how `follow` recognizes its wrapper
    return noting
