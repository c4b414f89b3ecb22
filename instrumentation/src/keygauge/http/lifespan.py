"""The lifespan of an ASGI app behind the middleware, including apps that do not support it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from keygauge.http.asgi_http import App, Message, Receive, Scope, Send

_log = logging.getLogger(__name__)

_ANSWERS = frozenset({"lifespan.startup.complete", "lifespan.startup.failed"})
_ENDS = frozenset({"lifespan.shutdown.complete", "lifespan.shutdown.failed", "lifespan.startup.failed"})


class Lifespan:
    """A relay of lifespan messages that runs `stop` before the server receives the last one.

    Code after the last message may not run: uvicorn then lets the signal that stopped it end the process.
    """

    def __init__(self, receive: Receive, send: Send, stop: Callable[[], Awaitable[None]]) -> None:
        self._receive = receive
        self._send = send
        self._stop = stop
        self._has_begun = False
        self._has_answered = False

    async def run(self, app: App, scope: Scope) -> None:
        """Run as long as the app's lifespan, or as long as the server if the app has none."""
        try:
            await app(scope, self._pass_in, self._pass_out)
        except Exception as error:
            if self._has_begun or _insists(self._receive):
                raise
            _log.warning("The app takes no part in the lifespan: %r", error)
        if not self._has_answered:
            await self._stand_in()

    async def _pass_in(self) -> Message:
        message = await self._receive()
        self._has_begun = True
        return message

    async def _pass_out(self, message: Message) -> None:
        kind = message["type"]
        if kind in _ANSWERS:
            self._has_answered = True
        if kind in _ENDS:
            await self._stop()
        await self._send(message)

    async def _stand_in(self) -> None:
        if not self._has_begun:
            await self._receive()
        await self._send({"type": "lifespan.startup.complete"})
        await self._receive()
        await self._pass_out({"type": "lifespan.shutdown.complete"})


def _insists(receive: Receive) -> bool:
    """Return whether the server requires a lifespan, like `uvicorn --lifespan on` and Starlette's TestClient."""
    owner = getattr(receive, "__self__", None)
    is_test_client = type(owner).__module__ == "anyio.streams.stapled"  # no server uses such a stream
    return is_test_client or getattr(getattr(owner, "config", None), "lifespan", None) == "on"
