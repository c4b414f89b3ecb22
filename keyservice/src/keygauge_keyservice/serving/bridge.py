"""An ASGI app that runs a WSGI app in threads: a thread is taken only once the whole request is there."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import IO, Any, TypeAlias
from urllib.parse import unquote_to_bytes

from keygauge_keyservice.api.events import BATCH_BYTES_MAX
from keygauge_keyservice.serving.asgi import Message, Receive, Scope, Send, refuse

WSGIApp: TypeAlias = Callable[[dict[str, Any], Any], Iterable[bytes]]

_MEMORY_BYTES = 64 << 10  # of a body; the rest is on disk
_BODY_BYTES_MAX = BATCH_BYTES_MAX + 1  # one more than any request may have: the app refuses it by that
_PIECE_BYTES = 64 << 10


class Bridge:
    """Runs one app; of the requests that are there, `threads` are in it and at most `queue` wait."""

    def __init__(self, app: WSGIApp, *, threads: int, queue: int) -> None:
        self._app = app
        self._inside_max = threads + queue
        self._inside = 0
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="keygauge")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        with tempfile.SpooledTemporaryFile(_MEMORY_BYTES) as body:
            if not await _read(scope, receive, body):
                return
            if self._inside >= self._inside_max:
                await refuse(send, 503, "busy", "The key service is busy; try again.")
                return
            self._inside += 1
            try:
                answer = Answer(receive, send, asyncio.get_running_loop())
                environ = _environ(scope, body)
                await answer.loop.run_in_executor(self._threads, answer.write, self._app, environ)
            except ConnectionAbortedError:
                return  # nobody reads on
            finally:
                self._inside -= 1
            if answer.rest is not None:
                await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
                await send({"type": "http.response.body", "body": answer.rest})


class Answer:
    """An app's answer: one that tells its length is sent by the loop, any other piece by piece from the thread."""

    def __init__(self, receive: Receive, send: Send, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.status = 500
        self.headers: list[tuple[bytes, bytes]] = []
        self.rest: bytes | None = None
        self._receive = receive
        self._send = send
        self._left: asyncio.Task[Any] | None = None  # done as soon as the client has left

    def start(
        self,
        status: str,
        headers: list[tuple[str, str]],
        _error: tuple[type[BaseException], BaseException, TracebackType] | None = None,
    ) -> None:
        """Take status and headers, as PEP 3333 says; werkzeug never calls what this would return."""
        self.status = int(status[:3])
        self.headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]

    def write(self, app: WSGIApp, environ: dict[str, Any]) -> None:
        """Run the app, in a thread."""
        pieces = app(environ, self.start)
        try:
            if any(name == b"content-length" for name, _ in self.headers):
                self.rest = b"".join(pieces)
            else:
                self._stream(pieces)
        finally:
            if (close := getattr(pieces, "close", None)) is not None:
                close()

    def _stream(self, pieces: Iterable[bytes]) -> None:
        self._wait_for({"type": "http.response.start", "status": self.status, "headers": self.headers})
        ready = bytearray()
        for piece in pieces:
            ready += piece
            if len(ready) >= _PIECE_BYTES:
                self._wait_for({"type": "http.response.body", "body": bytes(ready), "more_body": True})
                ready.clear()
        self._wait_for({"type": "http.response.body", "body": bytes(ready), "more_body": False})

    def _wait_for(self, message: Message) -> None:
        asyncio.run_coroutine_threadsafe(self._forward(message), self.loop).result()

    async def _forward(self, message: Message) -> None:
        if self._left is None:
            self._left = self.loop.create_task(self._receive())  # type: ignore[arg-type]  # ours is a coroutine
        await self._send(message)
        if self._left.done():
            raise ConnectionAbortedError


async def _read(scope: Scope, receive: Receive, body: IO[bytes]) -> bool:
    """Read a body as far as any may be; False when the client left."""
    if _told_length(scope) >= _BODY_BYTES_MAX:
        return True  # the app refuses it unread
    size, more = 0, True
    while more and size < _BODY_BYTES_MAX:
        message = await receive()
        if message["type"] == "http.disconnect":
            return False
        size += len(message["body"])
        body.write(message["body"])
        more = message["more_body"]
    body.seek(0)
    scope["body_size"] = size
    return True


def _told_length(scope: Scope) -> int:
    text = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    return int(text)  # the parser took it for a number


def _environ(scope: Scope, body: IO[bytes]) -> dict[str, Any]:
    server, client = scope["server"] or ("localhost", None), scope["client"]
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(scope["raw_path"]).decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_NAME": server[0],
        "SERVER_PORT": str(server[1] or 80),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "REMOTE_ADDR": client[0] if client else "",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope["scheme"],
        "wsgi.input": body,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for raw_name, raw_value in scope["headers"]:
        if b"_" in raw_name or raw_name == b"transfer-encoding":
            continue  # the first would pass for the header with a dash; the body is whole by now
        name, value = raw_name.decode("latin-1").upper().replace("-", "_"), raw_value.decode("latin-1")
        name = name if name in {"CONTENT_TYPE", "CONTENT_LENGTH"} else f"HTTP_{name}"
        separator = "; " if name == "HTTP_COOKIE" else ","
        environ[name] = f"{environ[name]}{separator}{value}" if name in environ else value
    if "body_size" in scope:
        environ["CONTENT_LENGTH"] = str(scope["body_size"])
    return environ
