"""Which requests go where, and whose turn it is: replicas never wait for pages, nor one visitor for another."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from keygauge_keyservice.serving.asgi import App, Receive, Scope, Send, refuse

_HEARTBEAT_PATH = "/v1/heartbeat"
REPLICA_PATHS = frozenset((_HEARTBEAT_PATH, "/v1/events", "/v1/reports"))
_HEALTH_PATHS = frozenset(("/healthz", "/readyz"))  # a balancer must not take the service away because pages are slow
AT_ONCE = 4  # of one visitor
_LINE_MAX = 100
_TURN_S = 10.0


class Front:
    """Sends what replicas ask to one app and the rest to another; None: it is not to be had here.

    Heartbeats may have one of their own, which waits for no batch of events.
    """

    def __init__(self, *, replicas: App | None, pages: App | None, heartbeats: App | None = None) -> None:
        self._replicas = replicas
        self._pages = pages
        self._heartbeats = heartbeats or replicas

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path = scope["path"]
        app = self._replicas if path in REPLICA_PATHS else self._pages
        if path == _HEARTBEAT_PATH:
            app = self._heartbeats
        if path in _HEALTH_PATHS:
            app = self._replicas or self._pages
        if app is None:
            await refuse(send, 404, "not_found", "This is served at another address of the key service.")
        else:
            await app(scope, receive, send)


class Turns:
    """An ASGI app of which each visitor has a few requests at once; more wait, without a thread, then are refused.

    A visitor is a session or a token, and one without either an address.
    """

    def __init__(
        self,
        app: App,
        *,
        proxies: int = 0,
        at_once: int = AT_ONCE,
        line_max: int = _LINE_MAX,
        turn_s: float = _TURN_S,
    ) -> None:
        self._app = app
        self._proxies = proxies
        self._at_once = at_once
        self._line_max = line_max
        self._turn_s = turn_s
        self._visitors: dict[bytes, _Visitor] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            async with self._turn(_visitor(scope, self._proxies)):
                await self._app(scope, receive, send)
        except _NoTurnError:
            await refuse(send, 429, "too_many_at_once", f"At most {self._at_once} requests at once: try again.")

    @asynccontextmanager
    async def _turn(self, name: bytes) -> AsyncIterator[None]:
        visitor = self._visitors.setdefault(name, _Visitor(self._at_once))
        if visitor.requests >= self._at_once + self._line_max:
            raise _NoTurnError
        visitor.requests += 1
        try:
            try:
                await asyncio.wait_for(visitor.turns.acquire(), self._turn_s)
            except TimeoutError:
                raise _NoTurnError from None
            try:
                yield
            finally:
                visitor.turns.release()
        finally:
            visitor.requests -= 1
            if not visitor.requests:
                del self._visitors[name]


class _NoTurnError(Exception):
    pass


class _Visitor:
    def __init__(self, at_once: int) -> None:
        self.turns = asyncio.Semaphore(at_once)
        self.requests = 0


def _visitor(scope: Scope, proxies: int) -> bytes:
    headers = scope["headers"]
    secret = _session(headers) or b",".join(value for name, value in headers if name == b"authorization")
    return hashlib.sha256(secret or _address(scope, proxies)).digest()


def _session(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    cookies = (cookie for name, value in headers if name == b"cookie" for cookie in value.split(b";"))
    return next((cookie.strip() for cookie in cookies if b"keygauge_session=" in cookie), b"")


def _address(scope: Scope, proxies: int) -> bytes:
    """Return the client's address as werkzeug's ProxyFix finds it."""
    told = b",".join(value for name, value in scope["headers"] if name == b"x-forwarded-for").split(b",")
    if 0 < proxies <= len(told):
        return told[-proxies].strip()
    return str(scope["client"][0]).encode() if scope["client"] else b""
