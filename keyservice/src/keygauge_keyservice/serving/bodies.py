"""Request bodies, received completely before a thread handles them, with a bound on their total size."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass
from typing import IO

from keygauge_keyservice.api.replicas.events import BATCH_BYTES_MAX
from keygauge_keyservice.app import REQUEST_BYTES_MAX
from keygauge_keyservice.serving.asgi import App, Receive, Scope, Send, busy, send_problem
from keygauge_keyservice.serving.visitor import address

_BYTES_MAX = 256 << 20  # of all incomplete bodies of one process, which are on disk
_SHARE = 4  # … and at most the free disk space divided by this, as several processes share it
_MEMORY_BYTES = 64 << 10  # per body; larger ones are on disk
_SIZES_MAX = {"/v1/events": BATCH_BYTES_MAX}


@dataclass(eq=False)
class _Arriving:
    """A body that is being received and its sender; its task is cancelled if the body is dropped."""

    sender: str
    task: asyncio.Task[object]
    size: int = 0
    is_dropped: bool = False


class Bodies:
    """An ASGI app that passes requests on with the body as a file in `scope["body"]` and its size in `body_size`.

    If the declared length exceeds the maximum, the body is not read, and neither is the rest of a body that grows too
    large: the app refuses it by its size. If too much is being received, the sender of the most loses its oldest body.
    """

    def __init__(self, app: App, *, proxies: int = 0, bytes_max: int | None = None) -> None:
        self._app = app
        self._proxies = proxies
        self._bytes_max = bytes_max or min(_BYTES_MAX, shutil.disk_usage(tempfile.gettempdir()).free // _SHARE)
        self._arriving: dict[_Arriving, None] = {}
        self._bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        most = _SIZES_MAX.get(scope["path"], REQUEST_BYTES_MAX) + 1
        if _declared_length(scope) >= most:
            await self._app(scope, receive, send)
            return
        with tempfile.SpooledTemporaryFile(_MEMORY_BYTES) as file:
            arriving = _Arriving(address(scope, self._proxies), _task())
            self._arriving[arriving] = None
            try:
                is_whole = await self._receive(arriving, file, receive, most)
            except asyncio.CancelledError:
                if not arriving.is_dropped:
                    raise
                arriving.task.uncancel()
                await send_problem(send, busy("Too many requests are being sent. Try again in a moment."))
                return
            except OSError:  # the disk is full
                with contextlib.suppress(OSError):  # closing flushes, which may fail as well
                    file.close()
                await send_problem(send, busy("There is no room for this request. Try again in a moment."))
                return
            finally:
                del self._arriving[arriving]
                self._bytes -= arriving.size
            if is_whole:
                file.seek(0)
                scope["body"], scope["body_size"] = file, arriving.size
                await self._app(scope, receive, send)

    async def _receive(self, arriving: _Arriving, file: IO[bytes], receive: Receive, most: int) -> bool:
        """Receive a body up to the maximum size; False if the client has left."""
        more = True
        while more and arriving.size < most:
            message = await receive()
            if message["type"] == "http.disconnect":
                return False
            file.write(message["body"])
            arriving.size += len(message["body"])
            more = message["more_body"]
            self._bytes += len(message["body"])
            if self._bytes > self._bytes_max:
                self._drop_one()
                await asyncio.sleep(0)  # this task may be the cancelled one
        return True

    def _drop_one(self) -> None:
        arriving = [one for one in self._arriving if one.size and not one.is_dropped]
        sizes: Counter[str] = Counter()
        for one in arriving:
            sizes[one.sender] += one.size
        most = max(sizes, key=lambda sender: sizes[sender])
        dropped = next(one for one in arriving if one.sender == most)
        dropped.is_dropped = True
        dropped.task.cancel()


def _task() -> asyncio.Task[object]:
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - for the type checker: requests are handled in tasks
    return task


def _declared_length(scope: Scope) -> int:
    text = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    return int(text)  # checked by the parser
