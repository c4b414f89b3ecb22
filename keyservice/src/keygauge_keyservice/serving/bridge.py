"""An ASGI app that runs a WSGI app in threads, which clients cannot block by sending or reading slowly."""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, TypeAlias, TypeVar
from urllib.parse import unquote_to_bytes

from keygauge_keyservice.serving.asgi import Message, Receive, Scope, Send, busy, send_problem

WSGIApp: TypeAlias = Callable[[dict[str, Any], Any], Iterable[bytes]]

_PIECE_BYTES = 64 << 10

_T = TypeVar("_T")


class Bridge:
    """Runs an app for up to `threads` requests at once, with at most `queue` more waiting."""

    def __init__(self, app: WSGIApp, *, threads: int, queue: int) -> None:
        self._app = app
        self._inside_max = threads + queue
        self._inside = 0
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="keygauge")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request with its body in `scope["body"]`, which is missing if it is larger than the app accepts."""
        if self._inside >= self._inside_max:
            await send_problem(send, busy())
            return
        answer = Answer()
        left = asyncio.ensure_future(receive())  # done as soon as the client has left
        try:
            if await self._run(self._begin, answer, _environ(scope), left):
                await self._send(answer, left, send)
        finally:
            left.cancel()
            if not answer.is_closed:
                await self._run(answer.close)

    def _begin(self, answer: Answer, environ: dict[str, Any], left: asyncio.Future[Message]) -> bool:
        """Run the app, unless the client left while its request waited: nobody would read the answer."""
        if _has_left(left):
            return False
        answer.begin(self._app, environ)
        return True

    async def _send(self, answer: Answer, left: asyncio.Future[Message], send: Send) -> None:
        """Send an answer at the client's pace, without blocking a thread."""
        await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
        while not answer.is_closed and not _has_left(left):
            await send(_body(await self._run(answer.read), more=True))
        for start in range(0, len(answer.whole), _PIECE_BYTES):  # keeps the connection's buffer small
            await send(_body(answer.whole[start : start + _PIECE_BYTES], more=True))
        await send(_body(b"", more=False))

    async def _run(self, function: Callable[..., _T], *arguments: object) -> _T:
        """Run a function in a thread."""
        self._inside += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)
        finally:
            self._inside -= 1


def _has_left(left: asyncio.Future[Message]) -> bool:
    return left.done() and left.result()["type"] == "http.disconnect"


def _body(piece: bytes, *, more: bool) -> Message:
    return {"type": "http.response.body", "body": piece, "more_body": more}


class Answer:
    """An app's answer: generated at once if it declares its length, otherwise piece by piece as it is read."""

    def __init__(self) -> None:
        self.status = 500
        self.headers: list[tuple[bytes, bytes]] = []
        self.whole = b""
        self.is_closed = True
        self._app_pieces: Iterable[bytes] = ()
        self._rest: Iterator[bytes] = iter(())

    def begin(self, app: WSGIApp, environ: dict[str, Any]) -> None:
        """Run the app."""
        self._app_pieces = app(environ, self._start)
        self.is_closed = False
        if any(name == b"content-length" for name, _ in self.headers):
            self.whole = b"".join(self._app_pieces)
            self.close()
        else:
            self._rest = iter(self._app_pieces)

    def read(self) -> bytes:
        """Generate and return the next piece; close the answer at its end."""
        ready = bytearray()
        for piece in self._rest:
            ready += piece
            if len(ready) >= _PIECE_BYTES:
                return bytes(ready)
        self.close()
        return bytes(ready)

    def close(self) -> None:
        """Release the app's resources, as PEP 3333 requires."""
        self.is_closed = True
        if (close := getattr(self._app_pieces, "close", None)) is not None:
            close()

    def _start(
        self,
        status: str,
        headers: list[tuple[str, str]],
        _error: tuple[type[BaseException], BaseException, TracebackType] | None = None,
    ) -> None:
        """Store status and headers (`start_response` of PEP 3333); returns no `write`, which werkzeug never calls."""
        self.status = int(status[:3])
        self.headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]


def _environ(scope: Scope) -> dict[str, Any]:
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
        "wsgi.input": scope.get("body") or io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for raw_name, raw_value in scope["headers"]:
        if b"_" in raw_name or raw_name == b"transfer-encoding":
            continue  # an underscore would look like a dash in the environ; the body is complete by now
        name, value = raw_name.decode("latin-1").upper().replace("-", "_"), raw_value.decode("latin-1")
        name = name if name in {"CONTENT_TYPE", "CONTENT_LENGTH"} else f"HTTP_{name}"
        separator = "; " if name == "HTTP_COOKIE" else ","
        environ[name] = f"{environ[name]}{separator}{value}" if name in environ else value
    if "body_size" in scope:
        environ["CONTENT_LENGTH"] = str(scope["body_size"])
    return environ
