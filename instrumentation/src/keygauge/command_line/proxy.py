"""`keygauge proxy`: an ASGI reverse proxy behind the middleware, for servers that are not Python.

Answers are streamed unchanged as they arrive, and so are the messages of WebSockets. Callers' keys are not forwarded:
the upstream gets `KEYGAUGE_UPSTREAM_AUTHORIZATION`, if set.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import string
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote, urlsplit

import click

from keygauge.asgi import KeyGaugeMiddleware
from keygauge.command_line import proxy_websocket
from keygauge.command_line.command import CommandError, Verb
from keygauge.command_line.proxy_routes import ROUTES
from keygauge.http.asgi_http import App, Receive, Scope, Send
from keygauge.http.routing.open_paths import leads_elsewhere
from keygauge.limits.credential import headers_for
from keygauge.settings.settings import Settings, SettingsError
from keygauge.usage.formats.encoding import can_decode

_OTHERS = "/{path:path}"
_CONNECT_S = 5.0
_HOP_BY_HOP = {
    *(b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te"),
    *(b"trailer", b"transfer-encoding", b"upgrade"),
}
_OURS = {b"host", b"expect", b"x-forwarded-host", b"x-forwarded-proto"}  # rewritten, or handled here
_OF_HANDSHAKE = b"sec-websocket-"
_EXTRA = "the proxy needs more packages: pip install 'keygauge[proxy]'"

Fields = list[tuple[bytes, bytes]]


class _CallerLeftError(Exception):
    """The caller left during its upload: nobody waits for an answer."""


class _Address(click.ParamType):  # type: ignore[type-arg]  # generic since Click 8.4
    name = "url"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the address."""
        text = str(value)
        try:
            parts = urlsplit(text)
            is_usable = bool(parts.hostname) and parts.port != 0 and parts.scheme in {"http", "https"}
        except ValueError:  # a port that is not a number or above 65535, or an unclosed bracket
            is_usable = False
        if not is_usable or parts.query or parts.fragment:
            self.fail(f"{text!r} is not a server address: use one such as http://127.0.0.1:11434", param, ctx)
        return text


class _Template(click.ParamType):  # type: ignore[type-arg]  # generic since Click 8.4
    name = "template"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the template, as Starlette reads it."""
        text = str(value)
        try:
            importlib.import_module("starlette.routing").Route(text, _refuse)
        except ImportError as error:
            raise CommandError(_EXTRA) from error
        except (AssertionError, ValueError) as error:
            self.fail(f"{text!r} is not a route ({error}): use one such as /v1/files/{{id}}", param, ctx)
        return text


@click.command(
    "proxy",
    cls=Verb,
    examples=(
        "keygauge proxy http://127.0.0.1:11434",
        "keygauge proxy http://127.0.0.1:8081 --port 8000 --route '/v1/files/{id}'",
    ),
)
@click.argument("upstream", type=_Address())
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(1, 65_535), default=8000, show_default=True, help="The port to listen on.")
@click.option(
    "--route",
    "routes",
    type=_Template(),
    multiple=True,
    metavar="TEMPLATE",
    help="A route to report separately, besides those of common model servers, e.g. /v1/files/{id}.",
)
@click.option(
    "--cors", is_flag=True, help="Pass browsers' preflights, which carry no key, on to UPSTREAM, which answers."
)
def command(upstream: str, host: str, port: int, routes: Iterable[str], *, cors: bool) -> None:
    """Meter a server that is not Python through a reverse proxy.

    Passes requests with valid keys on to UPSTREAM, such as Ollama, llama.cpp or TGI. The settings are the middleware's,
    from the environment. KEYGAUGE_UPSTREAM_AUTHORIZATION is sent to the upstream as Authorization.
    """
    try:
        uvicorn = importlib.import_module("uvicorn")
        app = make_app(upstream, routes=routes, answers_cors=cors)
    except ImportError as error:
        raise CommandError(_EXTRA) from error
    except SettingsError as error:
        raise CommandError(str(error)) from error
    uvicorn.run(app, host=host, port=port, proxy_headers=False, server_header=False, date_header=False)


def make_app(upstream: str, *, routes: Iterable[str] = (), answers_cors: bool = False) -> App:
    """Return the proxy behind the middleware; with `answers_cors`, preflights pass without a key.

    Raises:
        ImportError: `keygauge[proxy]` is not installed.
        SettingsError: a setting of the middleware is missing or wrong.
    """
    importlib.import_module("wsproto")
    starlette = importlib.import_module("starlette.applications")
    routing = importlib.import_module("starlette.routing")
    proxy = Proxy(upstream, Settings.from_environment())
    templates = dict.fromkeys((*routes, *ROUTES, _OTHERS))
    kinds = (routing.Route, routing.WebSocketRoute)
    app: Any = starlette.Starlette(
        routes=[kind(template, proxy) for template in templates for kind in kinds], lifespan=proxy.live
    )
    if answers_cors:
        app.add_middleware(UpstreamCors)
    return KeyGaugeMiddleware(app)


class UpstreamCors:
    """The place of the upstream's CORS layer: as one is there, `keygauge.http.preflight` admits preflights."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on."""
        await self.app(scope, receive, send)


class Proxy:
    """An ASGI app that forwards HTTP requests and WebSockets to one upstream."""

    def __init__(self, upstream: str, settings: Settings) -> None:
        self._httpx: Any = importlib.import_module("httpx")
        self._address = parts = urlsplit(upstream)
        self._base = f"{parts.scheme}://{parts.netloc}"
        self._path = parts.path.rstrip("/").encode()
        self._authorization = os.environ.get("KEYGAUGE_UPSTREAM_AUTHORIZATION")
        keys = headers_for(settings.credential_header) if settings.mode == "enforce" else frozenset()
        self._dropped = _HOP_BY_HOP | _OURS | keys | ({b"authorization"} if self._authorization else set())
        self.client = self._httpx.AsyncClient(
            timeout=self._httpx.Timeout(None, connect=_CONNECT_S),
            limits=self._httpx.Limits(max_connections=None, max_keepalive_connections=100),
            trust_env=False,  # ignore proxies that the environment sets
        )

    @asynccontextmanager
    async def live(self, _: App) -> AsyncIterator[None]:
        """Keep connections to the upstream open while the server runs."""
        async with self.client:
            yield

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward one request, until its answer ends or its client disconnects.

        A path with `.` or `..` is refused: the upstream may take it for another one than limits and permissions did.
        """
        target = _target(scope)
        if leads_elsewhere(scope["path"]) or b"#" in target:
            detail = "A path must not contain `#`, or the segments `.` and `..`. Send the path that they lead to."
            await _refuse(scope, send, 400, "ambiguous_path", "Ambiguous path", detail)
        elif scope["type"] == "websocket":
            await self._pass_messages(scope, receive, send, target)
        else:
            await self._pass_request(scope, receive, send, target)

    async def _pass_request(self, scope: Scope, receive: Receive, send: Send, target: bytes) -> None:
        request = self._request(scope, receive, target)
        try:
            answer = await self.client.send(request, stream=True)
        except _CallerLeftError:
            return
        except self._httpx.TransportError as error:
            await _refuse_unreachable(scope, send, type(error).__name__)
            return
        passing = asyncio.ensure_future(self._pass_on(answer, send))
        leaving = asyncio.ensure_future(_until_left(receive))
        try:
            await asyncio.wait((passing, leaving), return_when=asyncio.FIRST_COMPLETED)
            if passing.done():
                passing.result()
        finally:
            for task in (passing, leaving):
                task.cancel()
            await asyncio.gather(passing, leaving, return_exceptions=True)
            await answer.aclose()

    async def _pass_messages(self, scope: Scope, receive: Receive, send: Send, target: bytes) -> None:
        await receive()  # the caller's wish to connect
        path = quote(self._path + target, safe=string.punctuation)
        headers = [field for field in self._headers(scope) if not field[0].startswith(_OF_HANDSHAKE)]
        try:
            request = proxy_websocket.handshake(self._address, path, headers, scope["subprotocols"])
            await proxy_websocket.pass_on(self._address, request, receive, send)
        except proxy_websocket.UnreachableError as error:
            await _refuse_unreachable(scope, send, str(error))
        except proxy_websocket.RefusedError as error:
            status = error.status if error.status >= 400 else 502  # noqa: PLR2004 - HTTP
            detail = f"The server behind this proxy refuses a WebSocket on this path (status {error.status})."
            await _refuse(scope, send, status, "upstream_refused", "WebSocket refused", detail)

    def _request(self, scope: Scope, receive: Receive, target: bytes) -> Any:
        headers = list(self._headers(scope))
        names = {name for name, _ in scope["headers"]}
        body = _body(receive) if names & {b"content-length", b"transfer-encoding"} else None
        unchanged = {"target": self._path + target}  # httpx would change a URL's path
        return self._httpx.Request(scope["method"], self._base, headers=headers, content=body, extensions=unchanged)

    def _headers(self, scope: Scope) -> Iterable[tuple[bytes, bytes]]:
        host, client = b"", (scope.get("client") or ("",))[0].encode()
        dropped = self._dropped | _named(scope["headers"])
        for name, value in scope["headers"]:
            if name == b"host":
                host = value
            elif name == b"x-forwarded-for":
                client = value + b", " + client if client else value
            elif name == b"accept-encoding":
                yield name, _readable(value)
            elif name not in dropped:
                yield name, value
        if self._authorization:
            yield b"authorization", self._authorization.encode()
        if client:
            yield b"x-forwarded-for", client
        yield b"x-forwarded-proto", scope.get("scheme", "http").replace("ws", "http").encode()
        if host:
            yield b"x-forwarded-host", host

    async def _pass_on(self, answer: Any, send: Send) -> None:
        received: Fields = [(name.lower(), value) for name, value in answer.headers.raw]
        dropped = _HOP_BY_HOP | _named(received)
        headers = [
            (name, self._here(value) if name == b"location" else value)
            for name, value in received
            if name not in dropped
        ]
        await send({"type": "http.response.start", "status": answer.status_code, "headers": headers})
        async for part in answer.aiter_raw():
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    def _here(self, location: bytes) -> bytes:
        """Return where a redirect leads to at the proxy, if it leads to the upstream."""
        for prefix in filter(None, (self._base.encode() + self._path, self._path)):
            below = location.removeprefix(prefix)
            if below != location and below[:1] in {b"", b"/", b"?", b"#"}:
                return b"/" + below.lstrip(b"/\\")  # `//` would begin another host's name
        return location


def _target(scope: Scope) -> bytes:
    """Return the path as it was sent, with the query."""
    query: bytes = scope["query_string"]
    path: bytes = scope.get("raw_path") or scope["path"].encode()
    return path + (b"?" + query if query else b"")


def _readable(encodings: bytes) -> bytes:
    """Return the accepted encodings without those that would hide usage from the middleware."""
    parts = [part.strip() for part in encodings.split(b",")]
    return b", ".join(part for part in parts if part and can_decode(part.partition(b";")[0])) or b"identity"


def _named(headers: Fields) -> set[bytes]:
    """Return the header names listed in `Connection`, which are for this hop only."""
    return {part.strip().lower() for name, value in headers if name == b"connection" for part in value.split(b",")}


async def _body(receive: Receive) -> AsyncIterator[bytes]:
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _CallerLeftError
        yield message.get("body", b"")
        more = message.get("more_body", False)


async def _until_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _refuse_unreachable(scope: Scope, send: Send, cause: str) -> None:
    detail = f"The server behind this proxy does not answer ({cause}). Try again later."
    await _refuse(scope, send, 502, "upstream_unreachable", "Upstream unreachable", detail)


async def _refuse(scope: Scope, send: Send, status: int, code: str, title: str, detail: str) -> None:  # noqa: PLR0917 - an answer
    document = {"title": title, "status": status, "code": code, "detail": detail}
    body = json.dumps({"type": f"urn:keygauge:problem:{code}", **document}).encode()
    headers = [(b"content-type", b"application/problem+json"), (b"content-length", str(len(body)).encode())]
    kind = "http.response" if scope["type"] == "http" else "websocket.http.response"
    if scope["type"] == "http" or kind in (scope.get("extensions") or {}):
        await send({"type": f"{kind}.start", "status": status, "headers": headers})
        await send({"type": f"{kind}.body", "body": body})
    else:
        await send({"type": "websocket.close", "code": 1008})
