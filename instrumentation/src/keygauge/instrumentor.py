"""Zero-code instrumentation: `opentelemetry-instrument` loads this and meters and guards every app of known frameworks.

It does nothing unless KEYGAUGE_SERVICE_URL or KEYGAUGE_MODE is set. It imports no framework: each is instrumented when
the service imports it. With KEYGAUGE_LOG_FIELDS=1, it also adds the fields of `keygauge.log_fields` to every record of
`logging`.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass
from threading import Lock
from types import MethodType
from typing import Any, ClassVar

import wrapt
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]  # its module opts out of types

from keygauge import asgi, log_fields, wsgi
from keygauge.call import CURRENT
from keygauge.settings.settings import Settings

_MIDDLEWARE = "_keygauge_middleware"  # an app's attribute; set by its first request or its startup
_ORIGINAL = "_keygauge_original"
_GUARDED = "keygauge.guarded"  # in scope and environ: an outer app's middleware decided on this request


@dataclass(frozen=True)
class Framework:
    """A class whose instances are apps."""

    module: str
    name: str
    is_asgi: bool


FRAMEWORKS = (
    Framework("starlette.applications", "Starlette", is_asgi=True),
    Framework("fastapi.applications", "FastAPI", is_asgi=True),
    Framework("litestar.app", "Litestar", is_asgi=True),
    Framework("quart.app", "Quart", is_asgi=True),
    Framework("django.core.handlers.asgi", "ASGIHandler", is_asgi=True),
    Framework("falcon.asgi.app", "App", is_asgi=True),
    Framework("flask.app", "Flask", is_asgi=False),
    Framework("django.core.handlers.wsgi", "WSGIHandler", is_asgi=False),
    Framework("falcon.app", "App", is_asgi=False),
)


class KeyGaugeInstrumentor(BaseInstrumentor):  # type: ignore[misc]  # its module opts out of types
    """An instrumentor that wraps each outermost app in the middleware; apps mounted in it are part of it."""

    is_on = False

    def instrumentation_dependencies(self) -> Collection[str]:
        """Return no requirements: frameworks that are not installed are not instrumented."""
        return ()

    def _instrument(self, **_options: Any) -> None:
        if not os.environ.get("KEYGAUGE_SERVICE_URL") and not os.environ.get("KEYGAUGE_MODE"):
            return
        Settings.from_environment()  # reports errors at startup
        KeyGaugeInstrumentor.is_on = True
        if os.environ.get("KEYGAUGE_LOG_FIELDS") == "1":
            log_fields.install()
        for framework in FRAMEWORKS:
            wrapt.register_post_import_hook(functools.partial(self._wrap, framework), framework.module)

    def _uninstrument(self, **_options: Any) -> None:
        KeyGaugeInstrumentor.is_on = False
        for framework in FRAMEWORKS:
            owner: Any = getattr(sys.modules.get(framework.module), framework.name, None)
            call = getattr(owner, "__call__", None)  # noqa: B004 - the function itself is wanted
            if hasattr(call, _ORIGINAL):
                owner.__call__ = getattr(call, _ORIGINAL)

    @classmethod
    def _wrap(cls, framework: Framework, module: Any) -> None:
        owner: Any = getattr(module, framework.name, None)
        call: Any = getattr(owner, "__call__", None)  # noqa: B004 - the function itself is wanted
        if cls.is_on and call is not None and not hasattr(call, _ORIGINAL):
            guarding: Any = _guarding_asgi(call) if framework.is_asgi else _guarding_wsgi(call)
            setattr(guarding, _ORIGINAL, call)
            owner.__call__ = guarding


def _guarding_asgi(original: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    @functools.wraps(original)
    async def guarding(self: Any, scope: Any, receive: Any, send: Any) -> None:
        if _GUARDED in scope or asgi.MARK in scope or CURRENT.get() is not None:
            await original(self, scope, receive, send)
        else:
            scope[_GUARDED] = True
            await _middleware(self, original, asgi.KeyGaugeMiddleware)(scope, receive, send)

    return guarding


def _guarding_wsgi(original: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    @functools.wraps(original)
    def guarding(self: Any, environ: Any, start_response: Any) -> Iterable[bytes]:
        if _GUARDED in environ or wsgi.MARK in environ or CURRENT.get() is not None:
            return original(self, environ, start_response)
        environ[_GUARDED] = True
        chunks: Iterable[bytes] = _middleware(self, original, wsgi.KeyGaugeMiddleware)(environ, start_response)
        return chunks

    return guarding


class _Made:
    """The middleware per app, with a lock: a server's threads may handle an app's first requests concurrently."""

    lock = Lock()
    of_closed: ClassVar[dict[int, Any]] = {}  # by `id`, of apps that accept no new attributes


def _middleware(app: Any, original: Callable[..., Any], make: Callable[[Any], Any]) -> Any:
    """Return the app's middleware; wrong settings fail the first request, or the startup."""
    middleware = _find(app)
    if middleware is not None:
        return middleware
    with _Made.lock:
        middleware = _find(app)
        if middleware is None:
            middleware = make(MethodType(original, app))
            try:
                setattr(app, _MIDDLEWARE, middleware)
            except AttributeError:  # Falcon and Litestar apps use __slots__
                _Made.of_closed[id(app)] = middleware
        return middleware


def _find(app: Any) -> Any:
    return getattr(app, _MIDDLEWARE, None) or _Made.of_closed.get(id(app))


def _forget() -> None:
    _Made.lock = Lock()  # another thread of the parent may hold the old one


os.register_at_fork(after_in_child=_forget)
