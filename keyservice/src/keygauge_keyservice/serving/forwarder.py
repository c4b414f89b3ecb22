"""Forwarding of requests for pages to the process that serves them, over a local socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from typing import Any

import h11

from keygauge_keyservice.serving.asgi import App, Receive, Scope, Send, busy, refuse, send_problem

_CLIENT = b"x-keygauge-client"  # client address, server address and scheme; dropped from clients' own headers
_HOP_BY_HOP = frozenset((b"connection", b"keep-alive", b"te", b"trailer", b"upgrade", b"expect", b"proxy-connection"))
_INSIDE_MAX = 500
_PIECE_BYTES = 64 << 10
_HEAD_BYTES_MAX = 1 << 20  # of an answer: a URL in it may contain the request's whole URL, percent-encoded
_NOTICE_S = 1.0  # until the server reports that a client has left
_SCOPE = ("client", "server", "scheme")


class Forwarder:
    """An ASGI app in another process; it blocks no thread, even if the client or the page is slow."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._inside = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if self._inside >= _INSIDE_MAX:
            await send_problem(send, busy())
            return
        connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEAD_BYTES_MAX)
        try:
            head = connection.send(_request(scope)) or b""
        except h11.LocalProtocolError as error:  # our own server accepts more than HTTP allows
            await refuse(send, 400, "bad_request", f"The request is not valid HTTP: {error}.")
            return
        self._inside += 1
        try:
            await self._exchange(connection, head, scope, receive, send)
        finally:
            self._inside -= 1

    async def _exchange(
        self, connection: h11.Connection, head: bytes, scope: Scope, receive: Receive, send: Send
    ) -> None:
        reader, writer = await asyncio.open_unix_connection(self._path)
        writer.write(head)
        sending = asyncio.create_task(_send_body(connection, scope, receive, writer))
        try:
            await _pass_answer(connection, send, reader)
        except (h11.RemoteProtocolError, OSError, RuntimeError):  # uvloop raises the last for a closed connection
            await asyncio.wait([sending], timeout=_NOTICE_S)
            if not sending.done():  # otherwise the client has left and its page was aborted
                raise
        finally:
            sending.cancel()
            writer.close()


class Forwarded:
    """An ASGI app behind a forwarder, which restores the original client."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http" and not scope["client"]:  # over the local socket
            client = next((value for name, value in scope["headers"] if name == _CLIENT), b"{}")
            scope |= json.loads(client)
        await self._app(scope, receive, send)


async def _send_body(connection: h11.Connection, scope: Scope, receive: Receive, writer: asyncio.StreamWriter) -> None:
    if (body := scope.get("body")) is not None:  # missing if larger than the pages accept: they refuse it unread
        while piece := body.read(_PIECE_BYTES):
            writer.write(connection.send(h11.Data(piece)) or b"")
            await writer.drain()
        writer.write(connection.send(h11.EndOfMessage()) or b"")
    while (await receive())["type"] != "http.disconnect":
        pass
    writer.close()  # nobody reads the rest of the page


def _request(scope: Scope) -> h11.Request:
    target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
    return h11.Request(method=scope["method"], target=target, headers=_headers(scope))


def _headers(scope: Scope) -> list[tuple[bytes, bytes]]:
    client = json.dumps({name: scope[name] for name in _SCOPE}).encode()
    return [
        # Space after a value is not part of it (RFC 9110, 5.5), but our server keeps it and h11 refuses it.
        *(
            (name, value.strip(b" \t"))
            for name, value in scope["headers"]
            if name not in _HOP_BY_HOP and name != _CLIENT
        ),
        (_CLIENT, client),
    ]


async def _pass_answer(connection: h11.Connection, send: Send, reader: asyncio.StreamReader) -> None:
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(_PIECE_BYTES))
        elif isinstance(event, h11.Response):
            headers = list(_without_hops(event.headers))
            await send({"type": "http.response.start", "status": event.status_code, "headers": headers})
        elif isinstance(event, h11.Data):
            await send({"type": "http.response.body", "body": bytes(event.data), "more_body": True})
        elif isinstance(event, h11.EndOfMessage):
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return


def _without_hops(headers: Iterable[tuple[bytes, bytes]]) -> Iterable[tuple[bytes, bytes]]:
    drop: Any = {*_HOP_BY_HOP, b"transfer-encoding", b"date"}
    return ((name, value) for name, value in headers if name not in drop)
