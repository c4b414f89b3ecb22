"""The ASGI middleware, for FastAPI, Starlette and any other ASGI app."""

from __future__ import annotations

import time
from functools import partial
from types import MethodType
from typing import Any

from keygauge.call import CURRENT, SCOPE_MARK, Call
from keygauge.clock import now_ns
from keygauge.http import event_loop, forwarding, held_errors, trailers
from keygauge.http.asgi_http import App, HttpRequest, Receive, Scope, Send, header_of, send_answer
from keygauge.http.key_status import KeyStatusPath
from keygauge.http.lifespan import Lifespan
from keygauge.http.problem import Answer
from keygauge.http.routing import route
from keygauge.http.websocket import WebSocketRequest
from keygauge.limits.credential import Conflict, find
from keygauge.limits.refusal import Refusal
from keygauge.middleware import Middleware
from keygauge.settings.settings import SettingsError
from keygauge.telemetry.process_metrics import flush

MARK = SCOPE_MARK  # in the scope: an outer KeyGauge handles this request already
_REQUESTS: dict[str, type[HttpRequest | WebSocketRequest]] = {"http": HttpRequest, "websocket": WebSocketRequest}


class KeyGaugeMiddleware(Middleware[App, Scope]):
    """Meter and guard an ASGI app by key: see `Middleware` for its options.

    Raises:
        SettingsError: a setting is missing or wrong. If a running server builds the middleware, as with Starlette's
            `add_middleware`, the app's startup fails instead.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        make = _REQUESTS.get(scope["type"])
        if make is None or MARK in scope or self._open(scope):
            await self._pass_on(scope, receive, send)
            return
        if self._key_status is not None and self._key_status.is_asked_scope(scope):
            await self._send_status(self._key_status, scope, send)
            return
        runtime = self._process.runtime or self._process.start()
        client = scope.get("client")
        call = scope[MARK] = Call(
            method=scope.get("method", "GET"),
            ip=client[0] if client else None,
            time_ns=time.time_ns(),
            started_ns=now_ns(),
        )
        path = scope.get("path", "")  # read now, as Litestar shortens it in the scope
        request = make(scope, self.app, self._host, receive, send, path=path, call=call, runtime=runtime)
        try:
            if type(send) is MethodType:
                request.watch(send.__self__)
            elif type(receive) is MethodType:  # middleware outside of this one usually passes it on
                request.watch(receive.__self__)
            token = find(scope["headers"], self._names) if runtime.authorizer is not None else None
            decision = self._arrive(request, scope, token)
            if decision is not None:
                refusal = decision if isinstance(decision, Refusal) else await request.wait(decision)
                if refusal is not None:
                    await request.answer(refusal)
                    return
            outer = CURRENT.set(call)
            try:
                await self.app(scope, request.receive, request.send)
            finally:
                CURRENT.reset(outer)
        except BaseException as error:
            if not isinstance(error, Exception):
                runtime.attempt("cancelled", request.note_cancelled)
            request.end(complete=False, error=error)
            raise
        request.finish()

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on requests that are not metered, and take part in the app's lifespan."""
        if scope["type"] == "lifespan" and MARK not in scope:
            await self._live(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _send_status(self, path: KeyStatusPath, scope: Scope, send: Send) -> None:
        """Answer a request for the caller's own key status."""
        client, query = scope.get("client"), bytes(scope.get("query_string", b"")).decode("latin-1")
        runtime, header = self._process.runtime or self._process.start(), partial(header_of, scope)
        ip = client[0] if client else None
        get_status = partial(self._answer_status, path, runtime, scope, header, ip=ip, query=query)
        answers: list[Answer] = []
        await event_loop.in_thread(lambda: answers.append(get_status()))
        await send_answer(answers[0] if scope["method"] == "GET" else answers[0]._replace(body=b""), send)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Start before the app and stop after it."""
        scope[MARK] = True
        try:
            self._process.start()
        except SettingsError as error:
            await receive()
            await send({"type": "lifespan.startup.failed", "message": f"KeyGauge: {error}"})
            return
        forwarding.warn_of_uvicorn(receive, self._settings.trusted_proxies)
        trailers.drop()  # again, in case the app was created before uvicorn chose its protocol
        try:
            await Lifespan(receive, send, self._stop).run(self.app, scope)
        finally:
            await self._stop()

    async def _stop(self) -> None:
        if self._process.runtime is not None:
            await event_loop.in_thread(self._process.stop)
            await event_loop.in_thread(flush)

    def _credential(self, given: Scope) -> bytes | Conflict | None:
        return find(given["headers"], self._names)

    def _prepare(self) -> None:
        self._open = self._open_paths.has_scope
        held_errors.follow()
        trailers.drop()

    def _fails_later(self) -> bool:
        return event_loop.is_running()  # a server takes an exception to mean that the app has no lifespan

    def _is_host(self, app: Any) -> bool:
        return route.is_host(app)
