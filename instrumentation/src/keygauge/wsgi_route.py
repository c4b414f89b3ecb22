"""The route template of a WSGI request: what the host's router matched, never the path itself."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from keygauge.call import UNMATCHED


def template(environ: Mapping[str, Any], noted: str, script_name: str) -> str:
    """Return the whole template, mounts included, of a request that the host has routed.

    Args:
        environ: the request's, as the host left it.
        noted: what `keygauge.router` noted as the framework matched, or UNMATCHED.
        script_name: the SCRIPT_NAME that the request came with; what it has become is where the app is mounted.
    """
    # Werkzeug leaves each request in its environ, and Flask the rule it matched in the request.
    rule = getattr(environ.get("werkzeug.request"), "url_rule", None)
    path = noted if rule is None else getattr(rule, "rule", noted)
    if path is UNMATCHED:
        return UNMATCHED
    return str(environ.get("SCRIPT_NAME", "")).removeprefix(script_name) + path


def before(environ: dict[str, Any], app: Any) -> str:
    """Return the template that the host would match, for a request it does not get to see."""
    host = getattr(app, "__self__", app)  # `flask_app.wsgi_app` is a method
    try:
        if hasattr(host, "url_map"):
            rule, _ = host.url_map.bind_to_environ(dict(environ)).match(return_rule=True)
            return str(rule.rule)
        if type(host).__module__.startswith("django.core.handlers."):
            return before_django(environ["PATH_INFO"])
    except Exception:  # noqa: BLE001 - no such route, wrong method, a redirect: each framework raises its own
        return UNMATCHED
    return UNMATCHED


def before_django(path: str) -> str:
    """Return the template that Django would match for a path below its mount.

    Raises:
        Exception: Django's own, where nothing matches.
    """
    match = sys.modules["django.urls"].get_resolver().resolve(path)
    return f"/{match.route}"
