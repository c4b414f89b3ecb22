"""A WebSocket session through `keygauge proxy`: whole messages both ways, until the caller or the upstream ends it."""

from __future__ import annotations

import asyncio
import importlib
import ssl
from collections.abc import AsyncIterator, Coroutine
from contextlib import suppress
from typing import Any
from urllib.parse import SplitResult

from keygauge.http.asgi_http import Receive, Send

Fields = list[tuple[bytes, bytes]]
MESSAGE_MAX = 16 << 20  # bytes, as uvicorn accepts from callers
_OPENING_S = 5.0
_READ = 65_536  # bytes
_NORMAL, _GOING_AWAY, _TOO_BIG, _BROKEN_OFF = 1000, 1001, 1009, 1014
_SENDABLE = {1005: _NORMAL, 1006: _GOING_AWAY, 1015: _GOING_AWAY}  # for codes that say that nobody sent one


class UnreachableError(Exception):
    """The upstream does not answer the handshake."""


class RefusedError(Exception):
    """The upstream answers the handshake with another status than 101."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Upstream:
    """A connection to the upstream: first the handshake, then messages."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._wsproto: Any = importlib.import_module("wsproto")
        self._state = self._wsproto.WSConnection(self._wsproto.ConnectionType.CLIENT)

    async def open(self, request: Any) -> str | None:
        """Send the handshake and return the subprotocol.

        Raises:
            RefusedError: the upstream refuses.
            UnreachableError: the upstream ends the connection.
        """
        events = self._wsproto.events
        await self._send(request)
        async for event in self._events():
            if isinstance(event, events.AcceptConnection):
                subprotocol: str | None = event.subprotocol
                return subprotocol
            if isinstance(event, events.RejectConnection):
                raise RefusedError(event.status_code)
        raise UnreachableError("ConnectionClosed")

    async def pass_from(self, receive: Receive) -> None:
        """Pass the caller's messages on, until it leaves."""
        while (message := await receive())["type"] != "websocket.disconnect":
            text = message.get("text")
            await self._try_to_send(self._wsproto.events.Message(data=message["bytes"] if text is None else text))
        code = int(message.get("code") or _NORMAL)
        await self._close(_SENDABLE.get(code, code), message.get("reason"))

    async def pass_to(self, send: Send) -> None:
        """Pass the upstream's messages on, until it ends the session."""
        events, parts, size = self._wsproto.events, [], 0
        async for event in self._events():
            if isinstance(event, events.Ping):
                await self._try_to_send(event.response())
            elif isinstance(event, events.CloseConnection):
                await self._try_to_send(event.response())
                await _close(send, int(event.code), event.reason)
            elif isinstance(event, events.Message):
                parts.append(event.data)
                size += len(event.data)
                if size > MESSAGE_MAX:
                    await self._close(_TOO_BIG)
                    await _close(send, _TOO_BIG)
                    return
                if event.message_finished:
                    await send({"type": "websocket.send", **_joined(parts)})
                    parts, size = [], 0

    def disconnect(self) -> None:
        """Close the connection."""
        self._writer.close()

    async def _close(self, code: int, reason: str | None = None) -> None:
        await self._try_to_send(self._wsproto.events.CloseConnection(code=code, reason=reason))

    async def _try_to_send(self, event: Any) -> None:
        """Send an event, unless the session has been ended meanwhile."""
        with suppress(self._wsproto.utilities.LocalProtocolError):
            await self._send(event)

    async def _send(self, event: Any) -> None:
        self._writer.write(self._state.send(event))
        await self._writer.drain()

    async def _events(self) -> AsyncIterator[Any]:
        """Yield the upstream's events, until it ends the session or the connection."""
        data: bytes | None = None
        while True:
            for event in self._state.events():
                yield event
                if isinstance(event, self._wsproto.events.CloseConnection):
                    return
            if data == b"":
                return
            data = await self._reader.read(_READ)
            self._state.receive_data(data or None)


def handshake(address: SplitResult, target: str, headers: Fields, subprotocols: list[str]) -> Any:
    """Return a request for a session; `target` is the path with the query, in ASCII."""
    request: Any = importlib.import_module("wsproto.events").Request
    host = address.netloc.rpartition("@")[2]
    return request(host, target, subprotocols=subprotocols, extra_headers=headers)


async def pass_on(address: SplitResult, request: Any, receive: Receive, send: Send) -> None:
    """Open a session with the upstream and pass messages on both ways until it ends.

    Raises:
        RefusedError: the upstream refuses the handshake.
        UnreachableError: the upstream does not answer it.
    """
    errors: Any = importlib.import_module("wsproto.utilities")
    upstream = None
    try:
        try:
            async with asyncio.timeout(_OPENING_S):
                upstream = await _connect(address)
                subprotocol = await upstream.open(request)
        except (OSError, TimeoutError, errors.RemoteProtocolError) as error:
            raise UnreachableError(type(error).__name__) from error
        await send({"type": "websocket.accept", "subprotocol": subprotocol, "headers": []})
        if not await _until_one_ends(upstream.pass_from(receive), upstream.pass_to(send)):
            await _close(send, _BROKEN_OFF)
    finally:
        if upstream is not None:
            upstream.disconnect()


async def _connect(address: SplitResult) -> Upstream:
    context = ssl.create_default_context() if address.scheme == "https" else None
    port = address.port or (80 if context is None else 443)
    return Upstream(*await asyncio.open_connection(address.hostname, port, ssl=context))


def _joined(parts: list[Any]) -> dict[str, Any]:
    return {"text": "".join(parts)} if isinstance(parts[0], str) else {"bytes": b"".join(parts)}


async def _close(send: Send, code: int, reason: str | None = None) -> None:
    """Close the caller's side; a caller that has left is no error."""
    code = {1005: _NORMAL, 1006: _BROKEN_OFF}.get(code, code)
    with suppress(OSError, RuntimeError):
        await send({"type": "websocket.close", "code": code, "reason": reason or ""})


async def _until_one_ends(*passing: Coroutine[Any, Any, None]) -> bool:
    """Run both directions until one ends; return False if its connection broke."""
    tasks = [asyncio.ensure_future(one) for one in passing]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    errors = [task.exception() for task in tasks if not task.cancelled()]
    for error in errors:
        if error is not None and not isinstance(error, OSError):
            raise error
    return not any(errors)
