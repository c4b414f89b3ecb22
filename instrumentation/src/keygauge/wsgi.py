"""The WSGI middleware, for Flask, Django and any other WSGI app."""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import partial
from typing import Any

from keygauge.call import CURRENT, Call
from keygauge.clock import now_ns
from keygauge.http import forwarding
from keygauge.http.key_status import KeyStatusPath
from keygauge.http.routing import wsgi_route
from keygauge.http.wsgi_http import App, Environ, StartResponse, WsgiRequest, give_answer, header_of, path_of
from keygauge.limits.credential import Conflict, find
from keygauge.limits.refusal import Refusal
from keygauge.middleware import Middleware
from keygauge.runtime import Runtime

MARK = "keygauge.call"  # in the environ: an outer KeyGauge handles this request already


class KeyGaugeMiddleware(Middleware[App, Environ]):
    """Meter and guard a WSGI app by key: see `Middleware` for its options.

    WSGI has no startup and shutdown events: the threads start with a process's first request and stop when the process
    exits, which then returns leases and ships its events.
    """

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        if MARK in environ or self._open(environ):
            return self.app(environ, start_response)
        if self._key_status is not None and self._key_status.is_asked_environ(environ):
            return self._give_status(self._key_status, environ, start_response)
        runtime = self._process.runtime or self._start(environ, start_response)
        call = environ[MARK] = Call(
            method=environ.get("REQUEST_METHOD", "GET"),
            ip=environ.get("REMOTE_ADDR") or None,
            time_ns=time.time_ns(),
            started_ns=now_ns(),
        )
        mount, path = environ.get("SCRIPT_NAME", ""), path_of(environ)
        request = WsgiRequest(
            environ, self.app, self._host, start_response, mount, path=path, call=call, runtime=runtime
        )
        try:
            request.count_input()
            token = self._credential(environ) if runtime.authorizer is not None else None
            decision = self._arrive(request, environ, token)
            if decision is not None:
                refusal = decision if isinstance(decision, Refusal) else request.wait(decision)
                if refusal is not None:
                    return request.answer(refusal)
            outer = CURRENT.set(call)
            try:
                chunks = self.app(environ, request.start_response)
            finally:
                CURRENT.reset(outer)
            return request.pass_on(chunks)
        except BaseException as error:
            request.end(complete=False, error=error)
            raise

    def _give_status(self, path: KeyStatusPath, environ: Environ, start_response: StartResponse) -> list[bytes]:
        """Answer a request for the caller's own key status."""
        runtime, ip = self._process.runtime or self._start(environ, start_response), environ.get("REMOTE_ADDR") or None
        query = environ.get("QUERY_STRING", "")
        answer = self._answer_status(path, runtime, environ, partial(header_of, environ), ip=ip, query=query)
        return give_answer(answer, environ["REQUEST_METHOD"], start_response)

    def _start(self, environ: Environ, start_response: StartResponse) -> Runtime:
        if self._proxies:
            forwarding.warn_of_underscores(environ, start_response)
        return self._process.start()

    def _credential(self, given: Environ) -> bytes | Conflict | None:
        fields = []
        for key, name in self._keys:  # a comprehension would add a function call
            value = given.get(key)
            if value is not None:
                fields.append((name, value.encode("latin-1", "replace")))
        return find(fields, self._names)

    def _prepare(self) -> None:
        self._open = self._open_paths.has_environ
        self._keys = [(f"HTTP_{name.decode().upper().replace('-', '_')}", name) for name in sorted(self._names)]

    def _is_host(self, app: Any) -> bool:
        return wsgi_route.is_host(app)
