"""Routing and fair queueing of requests: replicas never wait for pages, and visitors never wait for each other."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager

from keygauge_keyservice.serving.asgi import App, Receive, Scope, Send, refuse
from keygauge_keyservice.serving.heartbeats import HEARTBEAT_PATH
from keygauge_keyservice.serving.visitor import address, visitor

REPLICA_PATHS = frozenset((HEARTBEAT_PATH, "/v1/events", "/v1/reports", "/v1/key-status"))
HEALTH_PATHS = ("/healthz", "/readyz")  # a load balancer must not remove the service because pages are slow
AT_ONCE = 4  # per visitor
_LINE_MAX = 100
_OF_ADDRESS_MAX = 120  # across the sessions and tokens they claim, which are checked later
_TURN_S = 10.0


class Front:
    """Routes requests of replicas to one app and the rest to another; None if it is not served here.

    Heartbeats may have their own app, so that they do not wait for batches of events, and so may health checks, so that
    they wait for nothing.
    """

    def __init__(
        self,
        *,
        replicas: App | None,
        pages: App | None,
        heartbeats: App | None = None,
        health: Mapping[str, App] | None = None,
    ) -> None:
        self._replicas = replicas
        self._pages = pages
        self._heartbeats = heartbeats or replicas
        self._health = health or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path = scope["path"]
        app = self._replicas if path in REPLICA_PATHS else self._pages
        if path == HEARTBEAT_PATH:
            app = self._heartbeats
        if path in HEALTH_PATHS:
            app = self._health.get(path) or self._replicas or self._pages
        if app is None:
            await refuse(send, 404, "not_found", "The key service serves this at another address.")
        else:
            await app(scope, receive, send)


class Turns:
    """An ASGI app that limits each visitor to a few requests at once; more wait without a thread, then are refused.

    A visitor is a session, a token, or otherwise an address. As anyone can invent sessions, addresses have their own
    bound.
    """

    def __init__(
        self,
        app: App,
        *,
        proxies: int = 0,
        at_once: int = AT_ONCE,
        line_max: int = _LINE_MAX,
        turn_s: float = _TURN_S,
        of_address_max: int = _OF_ADDRESS_MAX,
    ) -> None:
        self._app = app
        self._proxies = proxies
        self._at_once = at_once
        self._line_max = line_max
        self._turn_s = turn_s
        self._of_address_max = of_address_max
        self._visitors: dict[bytes, _Line] = {}
        self._of_address: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            with self._place(address(scope, self._proxies)):
                async with self._turn(visitor(scope, self._proxies)):
                    await self._app(scope, receive, send)
        except _FullError:
            await refuse(
                send, 429, "too_many_at_once", f"At most {self._at_once} requests at once. Try again in a moment."
            )

    @contextmanager
    def _place(self, holder: str) -> Iterator[None]:
        if self._of_address[holder] >= self._of_address_max:
            raise _FullError
        self._of_address[holder] += 1
        try:
            yield
        finally:
            self._of_address[holder] -= 1
            if not self._of_address[holder]:
                del self._of_address[holder]

    @asynccontextmanager
    async def _turn(self, name: bytes) -> AsyncIterator[None]:
        line = self._visitors.setdefault(name, _Line(self._at_once))
        if line.requests >= self._at_once + self._line_max:
            raise _FullError
        line.requests += 1
        try:
            try:
                await asyncio.wait_for(line.turns.acquire(), self._turn_s)
            except TimeoutError:
                raise _FullError from None
            try:
                yield
            finally:
                line.turns.release()
        finally:
            line.requests -= 1
            if not line.requests:
                del self._visitors[name]


class _FullError(Exception):
    pass


class _Line:
    def __init__(self, at_once: int) -> None:
        self.turns = asyncio.Semaphore(at_once)
        self.requests = 0
