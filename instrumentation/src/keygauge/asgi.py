"""The ASGI middleware: for FastAPI, Starlette and any other ASGI app."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import MethodType
from typing import NoReturn

from keygauge.call import CURRENT, SCOPE_MARK, Call
from keygauge.clock import now_ns
from keygauge.http import event_loop, forwarding, held_errors, route, router
from keygauge.http.asgi_http import App, HttpResponder, Receive, Scope, Send, WebSocketResponder
from keygauge.http.client_address import client_ip
from keygauge.http.key_status import KeyStatusPath
from keygauge.http.layers import HostSearch
from keygauge.http.lifespan import Lifespan
from keygauge.http.open_paths import OpenPaths
from keygauge.http.preflight import is_preflight
from keygauge.http.problem import Answer, answer
from keygauge.limits.authorizer import Authorizer, Decision, NeedsBody
from keygauge.limits.credential import Conflict, find, headers_for
from keygauge.limits.estimate import Estimate, EstimateError
from keygauge.limits.refusal import Refusal
from keygauge.networks import parse_networks
from keygauge.process import Process
from keygauge.process_metrics import flush
from keygauge.runtime import Runtime
from keygauge.settings import Mode, Settings, SettingsError
from keygauge.telemetry import tracing

Identify = Callable[[Scope], str | None]

MARK = SCOPE_MARK  # an outer KeyGauge has this request already
_EXCHANGES: dict[str, type[HttpResponder | WebSocketResponder]] = {
    "http": HttpResponder,
    "websocket": WebSocketResponder,
}


class KeyGaugeMiddleware:
    """Meter and guard an ASGI app by key.

    Options are by keyword and default to the `KEYGAUGE_*` environment, see `keygauge.settings.Settings`. `identify` is
    for a service with keys of its own, in observe mode: given the ASGI scope, it returns the id to count the call under
    (never the key itself), or None.

    Raises:
        SettingsError: a setting is missing or wrong. Where a running server builds the middleware, as Starlette's
            `add_middleware` has it, the server is told instead that the app failed to start.
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
        self.app = app
        self._identify = identify
        self._process: Process | _Unset
        try:
            settings = _read(
                identify,
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
            self._process = Process(settings)
        except SettingsError as error:
            if not event_loop.is_running():  # it takes what is raised then for an app without a lifespan
                raise
            settings = Settings(mode="observe", spool_dir=Path())  # of no use: nothing starts
            self._process = _Unset(error)
        self._trusted_proxies = settings.trusted_proxies
        self._proxies = parse_networks(settings.trusted_proxies)
        self._headers = headers_for(settings.credential_header)
        self._open = OpenPaths(settings.open_paths).has_scope
        self._key_status = KeyStatusPath.of(settings)
        self._host = HostSearch(app, route.is_host)
        router.follow()
        held_errors.follow()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        make = _EXCHANGES.get(scope["type"])
        path = scope.get("path", "")
        if make is None or MARK in scope or self._open(scope):
            await self._pass_on(scope, receive, send)
            return
        if self._key_status is not None and self._key_status.is_asked_scope(scope):
            await self._tell_status(self._key_status, scope, send)
            return
        runtime = self._process.runtime or self._process.start()
        client = scope.get("client")
        call = scope[MARK] = Call(
            method=scope.get("method", "GET"),
            ip=client[0] if client else None,
            time_ns=time.time_ns(),
            started_ns=now_ns(),
        )
        tracing.find(call)
        if self._proxies:
            call.ip = client_ip(call.ip, _forwarded_for(scope), self._proxies)
        runtime.aggregator.started(call)
        responder = make(scope, path, self.app, self._host, receive, send, call=call, runtime=runtime)
        if type(send) is MethodType:
            responder.watch(send.__self__)
        try:
            authorizer = runtime.authorizer
            if authorizer is None or self._identify is not None:
                self._observe(runtime, call, scope)
                refusal = None
            else:
                headers = scope["headers"]
                token = find(headers, self._headers)
                is_free = token is None and is_preflight(call.method, headers) and responder.is_answered()
                decision = None if is_free else authorizer.decide(call, token)
                if decision is None or isinstance(decision, Refusal):
                    refusal = decision
                else:
                    refusal = await self._wait(authorizer, responder, token, decision)
            if refusal is not None:
                if call.template is None:
                    responder.read_route()
                await responder.refuse(
                    answer(
                        refusal,
                        call.policy.fields(call.policy.as_bytes, now_ns()) if refusal.limit and call.policy else [],
                        is_cross_origin=responder.is_cross_origin,
                    )
                )
                return
            outer = CURRENT.set(call)
            try:
                await self.app(scope, responder.receive, responder.send)
            finally:
                CURRENT.reset(outer)
        except BaseException as error:
            responder.end(complete=False, error=error)
            raise
        responder.finish()

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Leave to the host what is not to be counted here; the start and end of its life are ours too."""
        if scope["type"] == "lifespan" and MARK not in scope:
            await self._live(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _tell_status(self, path: KeyStatusPath, scope: Scope, send: Send) -> None:
        """Tell a caller what holds for its key."""
        runtime, headers, client = self._process.runtime or self._process.start(), scope["headers"], scope.get("client")
        ip = client_ip(client[0] if client else None, _forwarded_for(scope), self._proxies)
        query = bytes(scope.get("query_string", b"")).decode("latin-1")
        token, origin = find(headers, self._headers), any(name == b"origin" for name, _ in headers)
        answers: list[Answer] = []

        def ask() -> None:
            answers.append(path.answer(runtime.key_status, token, ip=ip, query=query, origin=origin))

        await event_loop.in_thread(ask)
        [told] = answers
        body = told.body if scope["method"] == "GET" else b""
        await send({"type": "http.response.start", "status": told.status, "headers": told.headers})
        await send({"type": "http.response.body", "body": body})

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Start with the app and stop after it."""
        scope[MARK] = True
        try:
            self._process.start()
        except SettingsError as error:
            await receive()
            await send({"type": "lifespan.startup.failed", "message": f"KeyGauge: {error}"})
            return
        forwarding.warn_of_uvicorn(receive, self._trusted_proxies)
        try:
            await Lifespan(receive, send, self._stop).run(self.app, scope)
        finally:
            await self._stop()

    async def _stop(self) -> None:
        if self._process.runtime is not None:
            await event_loop.in_thread(self._process.stop)
            await event_loop.in_thread(flush)

    async def _wait(
        self,
        authorizer: Authorizer,
        responder: HttpResponder | WebSocketResponder,
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
                        call.estimate = await responder.estimate(waits=waits) if decision.needs_body else Estimate()
                    except EstimateError:
                        return authorizer.refuse_cap(call)
                    since_ns = now_ns()
                elif now_ns() >= (until_ns := authorizer.waits_until_ns(since_ns)):
                    return authorizer.give_up(call)
                else:
                    await event_loop.end_of(decision, until_ns)
                decision = authorizer.decide(call, token)
            return decision
        finally:
            authorizer.leave(call)

    def _observe(self, runtime: Runtime, call: Call, scope: Scope) -> None:
        if self._identify is None:
            return
        try:
            call.key = self._identify(scope) or call.key
        except Exception:  # noqa: BLE001 - a failing `identify` costs a label, not the call
            runtime.fault("identify")


def _read(identify: Identify | None, **given: object) -> Settings:
    settings = Settings.from_environment(**given)
    if identify is not None and settings.mode != "observe":
        raise SettingsError("identify goes with mode='observe': keys of your own can be counted, not enforced")
    return settings


class _Unset:
    """What stands for the process where settings are wrong: it never starts."""

    runtime = None

    def __init__(self, error: SettingsError) -> None:
        self._error = error

    def start(self) -> NoReturn:
        raise self._error

    def stop(self) -> None:
        """Stop nothing."""


def _forwarded_for(scope: Scope) -> str:
    return ",".join(value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for")
