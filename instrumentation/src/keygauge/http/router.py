"""Frameworks' own routers: what they match, noted as they do, and what they would match.

Django, Falcon, Quart and Datasette leave no trace of their match in scope or environ, but match in one method of a
class, or one function. That one is wrapped where the framework is already imported; it is never imported for this.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from keygauge.call import CURRENT
from keygauge.telemetry import tracing


@dataclass(frozen=True)
class Router:
    """Where a framework matches, and how its match tells the template."""

    module: str
    owner: str  # a class; "" for a function of the module
    method: str
    read: Callable[[Any, Any], str | None]  # (the method's owner, what the method returned)

    def find(self) -> tuple[Any, Any]:
        """Return where the method is, and the method; None where the framework is not imported."""
        module = sys.modules.get(self.module)
        owner = getattr(module, self.owner, None) if self.owner else module
        return owner, getattr(owner, self.method, None)


def _quart(context: Any, _: Any) -> str | None:
    rule = context.request_websocket.url_rule
    return None if rule is None else rule.rule


def _datasette(_: Any, found: Any) -> str | None:
    """Tell a template from a regular expression: its named groups as parameters."""
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
    """Note from now on what the frameworks that are imported match; again does no harm."""
    for router in ROUTERS:
        owner, match = router.find()
        if match is not None and not hasattr(match, "keygauge_router"):
            setattr(owner, router.method, _noting(match, router))


def unfollow() -> None:
    """Give the frameworks their own methods back."""
    for router in ROUTERS:
        owner, match = router.find()
        if hasattr(match, "keygauge_router"):
            setattr(owner, router.method, match.__wrapped__)


def match(app: Any, path: str, method: str) -> str | None:
    """Return the template that an app's router would match, for a request that the app does not get to see.

    The path begins below the app's mount. None where nothing matches, and for apps that are not known here.
    """
    host = getattr(app, "__self__", app)  # `flask_app.wsgi_app` is a method
    try:
        if hasattr(host, "url_map"):  # Flask, Quart
            rule, _ = host.url_map.bind("localhost").match(path, method=method, return_rule=True)
            return str(rule.rule)
        if type(host).__module__.startswith("django.core.handlers."):
            return f"/{sys.modules['django.urls'].get_resolver().resolve(path).route}"
        if hasattr(host, "asgi_router"):  # Litestar
            return str(host.asgi_router.handle_routing(path=path, method=method)[-1])
        if type(host).__module__.startswith("falcon."):
            return str(host._router.find(path)[-1])  # noqa: SLF001 - the app's `find` is not public, its router's is
    except Exception:  # noqa: BLE001 - no such route, wrong method, a redirect: each framework raises its own
        return None
    return None


def _noting(match: Callable[..., Any], router: Router) -> Callable[..., Any]:
    @functools.wraps(match)
    def noting(self: Any, *args: Any, **options: Any) -> Any:
        found = match(self, *args, **options)
        call = CURRENT.get()
        if call is not None:
            try:
                call.route = router.read(self, found) or call.route
                if call.context is None:  # contrib's span of Django is over before the answer begins
                    tracing.find_inside(call)
            except Exception:  # noqa: BLE001 - a router that is not as we know it costs the label, not the call
                return found
        return found

    noting.keygauge_router = router  # type: ignore[attr-defined]  # how `follow` knows its own
    return noting
