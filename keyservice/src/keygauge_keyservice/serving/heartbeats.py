"""Heartbeats, answered without a thread for each: they are the most frequent requests."""

from __future__ import annotations

import asyncio
from time import perf_counter

import msgspec

from keygauge.protocol import HeartbeatAnswer
from keygauge_keyservice.api.replicas.heartbeat import read
from keygauge_keyservice.errors import Problem
from keygauge_keyservice.serving.asgi import App, Receive, Scope, Send, busy, respond, send_problem
from keygauge_keyservice.sync.heartbeat import Received
from keygauge_keyservice.web.bearer_auth import Caller, find_service
from keygauge_keyservice.web.context import Context
from keygauge_keyservice.web.problem import of_error

HEARTBEAT_PATH = "/v1/heartbeat"
_JSON = ((b"content-type", b"application/json"),)


class Heartbeats:
    """An ASGI app that answers valid heartbeats; the Flask app answers the rest, and says what is wrong with them."""

    def __init__(self, context: Context, *, rest: App, inside_max: int) -> None:
        self._context = context
        self._rest = rest
        self._inside = 0
        self._inside_max = inside_max
        self._refreshing: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request with its body in `scope["body"]`."""
        started_s = perf_counter()
        status = 200
        try:
            received = await self._read(scope)
            answer = received and await self._wait(received, receive)
        except _LeftError:
            return
        except Exception as error:  # noqa: BLE001 - as Flask does
            problem = of_error(error)
            status = problem.status
            await send_problem(send, problem)
        else:
            if answer is None:
                await self._rest(scope, receive, send)
                return
            await respond(send, status, _JSON, msgspec.json.encode(answer))
        self._context.request_metrics.count(HEARTBEAT_PATH, "POST", status, perf_counter() - started_s)

    async def _read(self, scope: Scope) -> Received | None:
        """Return a heartbeat, or None if it is not valid or its token is unknown."""
        credentials = [value for name, value in scope["headers"] if name == b"authorization"]
        if scope["method"] != "POST" or scope["query_string"] or "body" not in scope or len(credentials) != 1:
            return None
        scheme, _, token = credentials[0].decode("latin-1").partition(" ")
        caller = await self._find_caller(token)
        if scheme.lower() != "bearer" or caller is None:
            return None
        try:
            return read(scope["body"].read(), caller.name)
        except Problem:
            scope["body"].seek(0)
            return None

    async def _find_caller(self, token: str) -> Caller | None:
        tokens = self._context.tokens
        caller = find_service(self._context, token)
        if caller is None and not tokens.is_fresh:
            if self._refreshing is None or self._refreshing.done():  # all who wait share one query, and its error
                self._refreshing = asyncio.create_task(asyncio.to_thread(tokens.refresh))
            await asyncio.shield(self._refreshing)
            caller = find_service(self._context, token)
        return caller

    async def _wait(self, received: Received, receive: Receive) -> HeartbeatAnswer:
        """Wait for the answer, unless the client leaves before the heartbeat is processed."""
        if self._inside >= self._inside_max:
            raise busy()
        self._inside += 1
        waiting = self._context.heartbeats.submit(received)
        left = asyncio.ensure_future(receive())  # done as soon as the client has left
        left.add_done_callback(lambda _: waiting.cancel())
        try:
            return await asyncio.wrap_future(waiting)
        except asyncio.CancelledError:
            if left.done():
                raise _LeftError from None
            raise
        finally:
            left.cancel()
            self._inside -= 1


class _LeftError(Exception):
    pass
