"""Exceptions that Starlette's BaseHTTPMiddleware holds back until it has ended the answer as if it were complete.

If the inner app raises after its answer has begun, the exception emerges only after the answer's last message, when the
call is settled. So it is recorded where it is raised.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from keygauge.call import SCOPE_MARK, Call
from keygauge.http.request import name_of

_Serve = Callable[..., Awaitable[None]]


def follow() -> None:
    """Start recording these exceptions, if Starlette is imported; safe to repeat."""
    base = getattr(sys.modules.get("starlette.middleware.base"), "BaseHTTPMiddleware", None)
    if base is not None and not hasattr(base.__call__, "keygauge"):
        base.__call__ = _following(base.__call__)


class _Noting:
    """A proxy of a middleware whose `app` records what it raises after its answer has begun."""

    def __init__(self, middleware: Any, call: Call) -> None:
        self._middleware = middleware
        self._call = call

    def __getattr__(self, name: str) -> Any:
        return getattr(self._middleware, name)

    async def app(self, scope: Any, receive: Any, send: _Serve) -> None:
        """Run the app."""
        has_begun = False

        async def begin(message: MutableMapping[str, Any]) -> None:
            nonlocal has_begun
            has_begun = has_begun or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._middleware.app(scope, receive, begin)
        except Exception as error:
            if has_begun:
                self._call.raised = name_of(error)
            raise


def _following(serve: _Serve) -> _Serve:
    @functools.wraps(serve)
    async def following(self: Any, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        call = scope.get(SCOPE_MARK)
        await serve(_Noting(self, call) if isinstance(call, Call) else self, scope, receive, send)

    following.keygauge = True  # type: ignore[attr-defined]  # how `follow` recognizes its wrapper
    return following
