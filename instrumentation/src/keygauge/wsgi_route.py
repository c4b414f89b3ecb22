"""The route template of a WSGI request: what the host's router matched, never the path itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keygauge import router
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


def before(environ: Mapping[str, Any], app: Any) -> str:
    """Return the template that the host would match, for a request it does not get to see."""
    path = environ.get("PATH_INFO", "").encode("latin-1", "replace").decode(errors="replace")
    return router.match(app, path, environ.get("REQUEST_METHOD", "GET")) or UNMATCHED
