"""The WSGI middleware: for Flask, Django and any other WSGI app."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path

from keygauge.call import CURRENT, Call
from keygauge.clock import SECOND, now_ns
from keygauge.http import forwarding, router, wsgi_route
from keygauge.http.client_address import client_ip
from keygauge.http.key_status import KeyStatusPath
from keygauge.http.layers import HostSearch
from keygauge.http.open_paths import OpenPaths
from keygauge.http.preflight import is_preflight_environ
from keygauge.http.problem import answer
from keygauge.http.wsgi_http import App, CountedInput, Environ, StartResponse, WsgiResponder, decode
from keygauge.limits.authorizer import Authorizer, Decision, NeedsBody
from keygauge.limits.credential import Conflict, find, headers_for
from keygauge.limits.estimate import Estimate, EstimateError
from keygauge.limits.refusal import Refusal
from keygauge.limits.waiter import Wait
from keygauge.networks import parse_networks
from keygauge.process import Process
from keygauge.runtime import Runtime
from keygauge.settings import Mode, Settings, SettingsError
from keygauge.telemetry import tracing

Identify = Callable[[Environ], str | None]

MARK = "keygauge.call"  # in the environ: an outer KeyGauge has this request already


class KeyGaugeMiddleware:
    """Meter and guard a WSGI app by key.

    Options are by keyword and default to the `KEYGAUGE_*` environment, see `keygauge.settings.Settings`. `identify` is
    for a service with keys of its own, in observe mode: given the WSGI environ, it returns the id to count the call
    under (never the key itself), or None.

    WSGI has no start and no end of a service: the threads start with a process's first request and end with the
    process, which then gives leases back and ships its events.

    Raises:
        SettingsError: a setting is missing or wrong.
    """

    def __init__(
        self,
        app: App,
        *,
        service_url: str | None = None,
        service_token: str | None = None,
        spool_dir: str | Path | None = None,
        mode: Mode | None = None,
        identify: Identify | None = None,
        open_paths: Iterable[str] | None = None,
        service_name: str | None = None,
        wait_s: float | None = None,
        trusted_proxies: Iterable[str] | None = None,
        key_status_path: str | None = None,
    ) -> None:
        settings = Settings.from_environment(
            service_url=service_url,
            service_token=service_token,
            spool_dir=spool_dir,
            mode=mode,
            open_paths=None if open_paths is None else tuple(open_paths),
            service_name=service_name,
            wait_s=wait_s,
            trusted_proxies=None if trusted_proxies is None else tuple(trusted_proxies),
            key_status_path=key_status_path,
        )
        if identify is not None and settings.mode != "observe":
            raise SettingsError("identify goes with mode='observe': keys of your own can be counted, not enforced")
        self.app = app
        self._identify = identify
        self._process = Process(settings)
        self._proxies = parse_networks(settings.trusted_proxies)
        headers = headers_for(settings.credential_header)
        self._names = headers
        self._headers = [(f"HTTP_{name.decode().upper().replace('-', '_')}", name) for name in sorted(headers)]
        self._open = OpenPaths(settings.open_paths).has_environ
        self._key_status = KeyStatusPath.of(settings)
        self._host = HostSearch(app, wsgi_route.is_host)
        router.follow()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        if MARK in environ or self._open(environ):
            return self.app(environ, start_response)
        if self._key_status is not None and self._key_status.is_asked_environ(environ):
            return self._tell_status(self._key_status, environ, start_response)
        runtime = self._process.runtime or self._start(environ, start_response)
        call = environ[MARK] = Call(
            method=environ.get("REQUEST_METHOD", "GET"),
            ip=environ.get("REMOTE_ADDR") or None,
            time_ns=time.time_ns(),
            started_ns=now_ns(),
        )
        tracing.find(call)
        if self._proxies:
            call.ip = client_ip(call.ip, environ.get("HTTP_X_FORWARDED_FOR", ""), self._proxies)
        runtime.aggregator.started(call)
        mount = environ.get("SCRIPT_NAME", "")
        responder = WsgiResponder(environ, self.app, self._host, start_response, mount, call=call, runtime=runtime)
        length = environ.get("CONTENT_LENGTH")
        if length not in {None, "", "0"} or "HTTP_TRANSFER_ENCODING" in environ:
            declared = int(length) if length and length.isdecimal() else None
            environ["wsgi.input"] = CountedInput(environ["wsgi.input"], responder, declared)
        try:
            authorizer = runtime.authorizer
            if authorizer is None or self._identify is not None:
                self._observe(runtime, call, environ)
                refusal = None
            else:
                token = self._credential(environ)
                is_free = token is None and is_preflight_environ(environ) and responder.is_answered()
                decision = None if is_free else authorizer.decide(call, token)
                if decision is None or isinstance(decision, Refusal):
                    refusal = decision
                else:
                    refusal = self._wait(authorizer, responder, token, decision)
            if refusal is not None:
                if call.template is None:
                    responder.read_route()
                return responder.refuse(
                    answer(
                        refusal,
                        call.policy.fields(call.policy.as_bytes, now_ns()) if refusal.limit and call.policy else [],
                        is_cross_origin=responder.is_cross_origin,
                    )
                )
            outer = CURRENT.set(call)
            try:
                chunks = self.app(environ, responder.start_response)
            finally:
                CURRENT.reset(outer)
            return responder.pass_on(chunks)
        except BaseException as error:
            responder.end(complete=False, error=error)
            raise

    def _tell_status(self, path: KeyStatusPath, environ: Environ, start_response: StartResponse) -> list[bytes]:
        """Tell a caller what holds for its key."""
        runtime = self._process.runtime or self._start(environ, start_response)
        ip = client_ip(environ.get("REMOTE_ADDR") or None, environ.get("HTTP_X_FORWARDED_FOR", ""), self._proxies)
        told = path.answer(
            runtime.key_status,
            self._credential(environ),
            ip=ip,
            query=environ.get("QUERY_STRING", ""),
            origin="HTTP_ORIGIN" in environ,
        )
        start_response(f"{told.status} {HTTPStatus(told.status).phrase}", decode(told.headers))
        return [told.body if environ["REQUEST_METHOD"] == "GET" else b""]

    def _start(self, environ: Environ, start_response: StartResponse) -> Runtime:
        if self._proxies:
            forwarding.warn_of_underscores(environ, start_response)
        return self._process.start()

    def _wait(
        self,
        authorizer: Authorizer,
        responder: WsgiResponder,
        token: bytes | Conflict | None,
        decision: Decision,
    ) -> Refusal | None:
        """Decide on a cold key, on units that are not held, or by the body: with the key service's word."""
        call = responder.call
        since_ns = call.started_ns
        try:
            while decision is not None and not isinstance(decision, Refusal):
                if isinstance(decision, NeedsBody):
                    responder.read_route()
                    try:
                        waits = decision.needs_model
                        call.estimate = responder.estimate(waits=waits) if decision.needs_body else Estimate()
                    except EstimateError:
                        return authorizer.refuse_cap(call)
                    since_ns = now_ns()
                elif now_ns() >= (until_ns := authorizer.waits_until_ns(since_ns)):
                    return authorizer.give_up(call)
                else:
                    _end_of(decision, until_ns)
                decision = authorizer.decide(call, token)
            return decision
        finally:
            authorizer.leave(call)

    def _credential(self, environ: Environ) -> bytes | Conflict | None:
        fields = []
        for key, name in self._headers:  # a comprehension would be a call more
            value = environ.get(key)
            if value is not None:
                fields.append((name, value.encode("latin-1", "replace")))
        return find(fields, self._names)

    def _observe(self, runtime: Runtime, call: Call, environ: Environ) -> None:
        if self._identify is None:
            return
        try:
            call.key = self._identify(environ) or call.key
        except Exception:  # noqa: BLE001 - a failing `identify` costs a label, not the call
            runtime.fault("identify")


def _end_of(wait: Wait, until_ns: int) -> None:
    """Wait in this thread."""
    at_ns = until_ns if wait.at_ns is None else min(wait.at_ns, until_ns)
    with suppress(TimeoutError):
        wait.woken.result(max(at_ns - now_ns(), 0) / SECOND)
