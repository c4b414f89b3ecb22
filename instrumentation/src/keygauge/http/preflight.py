"""CORS preflights (Fetch standard), by which a browser checks whether it may send a request: without key or body.

A preflight passes without a key only if a CORS layer of the host answers it. Otherwise it is a normal call, which the
host would run in full.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from typing import Any

from keygauge.http.routing import router
from keygauge.http.routing.layers import Layer

_says_cors = re.compile(r"(?<![A-Za-z])cors(?![a-z])|Cors(?![a-z])|(?<![A-Z])CORS(?![a-z])").search  # no Corsair


def is_preflight(method: str, header: Callable[[str], str]) -> bool:
    """Return whether a request with these headers is a preflight; requests that declare a body are not."""
    return (
        method == "OPTIONS"
        and bool(header("origin") and header("access-control-request-method"))
        and not header("transfer-encoding")
        and header("content-length") in {"", "0"}
    )


def is_answered(layers: Iterable[Layer]) -> bool:
    """Return whether a layer that the request passes answers preflights, so that none reaches a handler."""
    return any(_answers(layer) for layer in layers)


def _answers(layer: Layer) -> bool:
    app = layer.app
    if _is_cors(app) or getattr(app, "cors_config", None) is not None:  # Litestar's
        return True
    if type(app).__module__.startswith("django.core.handlers."):
        return _django_answers(layer.path)
    if hasattr(app, "url_map"):
        return router.answers_options(app, layer.path, layer.environ)
    if isinstance(app, _falcon_apps()):
        is_routed = router.match(app, layer.path, "OPTIONS") not in (None, router.NOTHING)
        return is_routed and any(map(_is_cors, app._unprepared_middleware))  # noqa: SLF001 - not exposed elsewhere
    return any(_is_cors(added.cls) for added in getattr(app, "user_middleware", ()))


def _is_cors(layer: Any) -> bool:
    name: str = getattr(layer, "__qualname__", None) or type(layer).__name__
    return _says_cors(name) is not None


def _django_answers(path: str) -> bool:
    """Return whether django-cors-headers is enabled and covers this path."""
    settings = sys.modules["django.conf"].settings
    if not any(name.startswith("corsheaders.") for name in settings.MIDDLEWARE):
        return False
    return re.match(getattr(settings, "CORS_URLS_REGEX", ""), path) is not None


def _falcon_apps() -> Any:
    falcon = sys.modules.get("falcon.app")
    return (falcon.App,) if falcon else ()
