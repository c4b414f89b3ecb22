"""The route template of a WSGI request: what the host's router matched, never the path itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keygauge.call import UNMATCHED
from keygauge.http import router


def find(environ: Mapping[str, Any]) -> str:
    """Return the template that Flask matched, while it answers: Werkzeug leaves each request in its environ until then.

    What others matched `keygauge.router` has noted in the call.
    """
    request = environ.get("werkzeug.request")
    rule = None if request is None else getattr(request, "url_rule", None)
    return UNMATCHED if rule is None else str(rule.rule)


def before(environ: Mapping[str, Any], app: Any) -> str:
    """Return the template that the host would match, for a request it does not get to see."""
    path = environ.get("PATH_INFO", "").encode("latin-1", "replace").decode(errors="replace")
    return router.match(app, path, environ.get("REQUEST_METHOD", "GET")) or UNMATCHED
