"""Client connections: timeouts for sending a request and reading an answer, and a bound on their number."""

from __future__ import annotations

import asyncio
import logging
import select
from collections import OrderedDict, deque
from functools import partial
from typing import Any, Literal

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

HEAD_S = 10.0
BODY_IDLE_S = 10.0  # without a byte of the body
BODY_S = 30.0  # for a body, plus the time its bytes take at the slowest rate: slow uploads are fine, but bounded
BODY_BYTES_PER_S = 1_024
WRITE_S = 30.0  # without any progress of the client in reading its answer
IDLE_S = 30  # between two requests: replicas send a heartbeat every second on one connection
HEAD_BYTES_MAX = 64 << 10  # also of a body's chunk framing, plus the following per byte of the body
_FRAME_BYTES = 8
# What a client sent at once is parsed without a pause, and every part takes time, however small.
PIPELINED_MAX = 8  # requests of a connection without an answer
PATH_BYTES_MAX = 4 << 10  # of a request; percent-encoded bytes are decoded one by one
FIELDS_MAX = 200  # of a request, with its trailers
CHUNKS_MAX = 1_000  # of a body, plus one per the following bytes of it
_CHUNK_BYTES = 64
_LEFT = getattr(select, "POLLRDHUP", select.POLLHUP)  # closed by the client; Linux reports it before all is read
_log = logging.getLogger("uvicorn.error.client")
# uvicorn warns of each malformed request, so anyone could fill the log. A level would be reset by `dictConfig`.
_log.addFilter(lambda record: record.levelno >= logging.ERROR)
CONNECTIONS_MAX = 4_000  # per process: two for each of a thousand replicas, and as many others


class Waiting:
    """The connections without a request in progress, longest waiting first; the bound applies to all connections."""

    def __init__(self, connections_max: int = CONNECTIONS_MAX) -> None:
        self._connections_max = connections_max
        self._waiting: OrderedDict[Connection, None] = OrderedDict()

    def add(self, connection: Connection) -> None:
        """Add a connection at the end of the queue."""
        self._waiting[connection] = None
        self._waiting.move_to_end(connection)

    def remove(self, connection: Connection) -> None:
        """Remove a connection that is being answered, or gone."""
        self._waiting.pop(connection, None)

    def make_room(self, connections: int) -> None:
        """Close the connection that has waited longest if there are too many; replicas send often, so they are last."""
        if connections > self._connections_max and self._waiting:
            self._waiting.popitem(last=False)[0].transport.abort()


class Connection(HttpToolsProtocol):
    """uvicorn's protocol with timeouts and bounds; by itself, it waits for heads and bodies forever."""

    def __init__(self, *arguments: Any, waiting: Waiting, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.logger = _log
        self._waiting = waiting
        self._reading: Literal["head", "body"] | None = "head"  # None: the request is complete
        self._reading_timer: asyncio.TimerHandle | None = None
        self._writing_timer: asyncio.TimerHandle | None = None
        self._received_s = 0.0  # when the last bytes arrived, by the loop's clock
        self._head_bytes = 0
        self._body_s = 0.0  # … and when the body began
        self._body_bytes = 0
        self._unanswered: deque[Any] = deque()  # cycles, that is requests with their answers
        self._fields = self._chunks = 0
        self._overhead_bytes = 0  # left for a body's framing: chunk sizes, chunk extensions, trailers

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Start waiting for a head."""
        super().connection_made(transport)
        self._waiting.add(self)
        self._waiting.make_room(len(self.connections))
        self._time_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._waiting.remove(self)
        self._reading = None
        self._time_reading()
        self._stop_writing_timer()
        for cycle in self._unanswered:  # uvicorn notifies the last one only
            cycle.disconnected = True
            cycle.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what arrived, and set the timeout for what is missing."""
        if self._reading is None and self.cycle.response_complete:
            self._reading = "head"  # the first bytes after an answer
        before = self._reading
        self._received_s = self.loop.time()
        if before == "head":
            self._head_bytes += len(data)
        elif before == "body":
            self._overhead_bytes -= len(data)
        super().data_received(data)
        if self._reading == "head" and self._head_bytes > HEAD_BYTES_MAX:
            self._refuse(431)
        elif self._reading == "body" and self._overhead_bytes < 0:
            self._refuse(400)
        elif self._reading != before or self._reading_timer is None:
            self._time_reading()

    def on_message_begin(self) -> None:
        """Start a head; an error closes the connection."""
        if len(self._unanswered) >= PIPELINED_MAX:
            raise ValueError("too many requests at once")
        self._reading = "head"
        self._fields = self._chunks = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Start a body; the request is being answered from now on. An error closes the connection."""
        if len(self.url.partition(b"?")[0]) > PATH_BYTES_MAX:
            raise ValueError("too long a path")
        self._head_bytes = self._body_bytes = 0
        self._body_s = self._received_s
        self._overhead_bytes = HEAD_BYTES_MAX
        self._reading = "body"
        super().on_headers_complete()
        self._unanswered.append(self.cycle)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header field; ignore trailers after the body, which uvicorn would add to the request."""
        self._fields += 1
        if self._fields > FIELDS_MAX:
            raise ValueError("too many header fields")
        if self._reading == "head":
            super().on_header(name, value)

    def on_chunk_header(self) -> None:
        """Count a chunk; an error closes the connection."""
        self._chunks += 1
        if self._chunks > CHUNKS_MAX + self._body_bytes // _CHUNK_BYTES:
            raise ValueError("too many small chunks")

    def on_body(self, body: bytes) -> None:
        """Add a part of the body, and allow for its framing."""
        self._body_bytes += len(body)
        self._overhead_bytes += len(body) * (1 + _FRAME_BYTES)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Handle a complete request; it may have waited long, and its client may have given up."""
        self._reading = None
        self._waiting.remove(self)
        if self._has_left():
            self.cycle.disconnected = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        self._unanswered.popleft()
        super().on_response_complete()
        if not self.transport.is_closing():
            self._waiting.add(self)

    def pause_writing(self) -> None:
        """Start the timeout for the client to read."""
        super().pause_writing()
        self._writing_timer = self.loop.call_later(WRITE_S, self.transport.abort)

    def resume_writing(self) -> None:
        """Stop the timeout, as the client has read."""
        super().resume_writing()
        self._stop_writing_timer()

    def timeout_keep_alive_handler(self) -> None:
        """Drop an idle client, including what it has not read of its last answer."""
        self.transport.abort() if self.transport.get_write_buffer_size() else self.transport.close()

    def _has_left(self) -> bool:
        found = select.poll()
        found.register(self.transport.get_extra_info("socket").fileno(), _LEFT)
        return bool(found.poll(0))

    def _time_reading(self) -> None:
        if self._reading_timer is not None:
            self._reading_timer.cancel()
            self._reading_timer = None
        if self._reading == "head":
            self._reading_timer = self.loop.call_later(HEAD_S, self._refuse, 408)
        elif self._reading == "body":
            self._watch_body()

    def _watch_body(self) -> None:
        """Refuse a body that has stalled or is too slow; otherwise check again when that could be the case."""
        paced_s = self._body_s + BODY_S + self._body_bytes / BODY_BYTES_PER_S
        end_s = min(self._received_s + BODY_IDLE_S, paced_s)
        if self.loop.time() >= end_s:
            self._refuse(408)
        else:
            self._reading_timer = self.loop.call_at(end_s, self._watch_body)

    def _stop_writing_timer(self) -> None:
        if self._writing_timer is not None:
            self._writing_timer.cancel()
            self._writing_timer = None

    def _refuse(self, status: int) -> None:
        if self.cycle is None or self.cycle.response_complete:  # otherwise part of an answer has been sent
            self.transport.write(STATUS_LINE[status] + b"connection: close\r\ncontent-length: 0\r\n\r\n")
            self.transport.close()
        else:
            self.transport.abort()


def protocol(*, connections_max: int = CONNECTIONS_MAX) -> partial[Connection]:
    """Return the factory for the connections of one process."""
    return partial(Connection, waiting=Waiting(connections_max))
