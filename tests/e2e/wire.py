"""Low-level clients that return everything received: raw HTTP/1, and HTTP/2 and WebSocket by frames."""

import re
import socket

import h2.config
import h2.connection
import h2.errors
import h2.events
import wsproto
import wsproto.events

TIMEOUT_S = 20
_DATE = re.compile(rb"(?i)date: [^\r]*\r\n")


def send_http1(port, request):
    """Send a raw request; return the whole answer except the date."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.settimeout(TIMEOUT_S)
        answer = b""
        try:
            connection.sendall(request)
            while part := connection.recv(65536):
                answer += part
        except OSError as error:
            answer += type(error).__name__.encode()
    return _DATE.sub(b"", answer)


def send_http2(port, method, path, sent=b""):
    """Send a request on a new connection, with prior knowledge; return headers, body and how it ended."""
    state = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="latin-1"))
    headers, body = [], b""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.settimeout(TIMEOUT_S)
        state.initiate_connection()
        told = [(":method", method), (":path", path), (":scheme", "http"), (":authority", "api")]
        state.send_headers(1, told, end_stream=not sent)
        for begin in range(0, len(sent), 16_000):
            state.send_data(1, sent[begin : begin + 16_000], end_stream=begin + 16_000 >= len(sent))
        connection.sendall(state.data_to_send())
        while data := connection.recv(65536):
            for event in state.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived):
                    headers = sorted(field for field in event.headers if field[0] != "date")
                elif isinstance(event, h2.events.DataReceived):
                    body += event.data
                    state.acknowledge_received_data(event.flow_controlled_length, 1)
                elif isinstance(event, h2.events.StreamEnded):
                    return headers, body, "ended"
                elif isinstance(event, h2.events.StreamReset):
                    return headers, body, f"reset {event.error_code}"
                elif isinstance(event, h2.events.ConnectionTerminated):
                    return headers, body, "terminated"
            connection.sendall(state.data_to_send())
    return headers, body, "closed"


def talk(port, path, messages, *, subprotocols=(), headers=(), close=1000):
    """Open a WebSocket, send each message after the answer to the previous one, and close; return all events."""
    state = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
    last = wsproto.events.CloseConnection(code=close)
    told, waiting = [], [*map(_message, messages), last]
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.settimeout(TIMEOUT_S)
        opening = wsproto.events.Request("api", path, subprotocols=list(subprotocols), extra_headers=list(headers))
        connection.sendall(state.send(opening))
        while data := connection.recv(65536):
            state.receive_data(data)
            for event in state.events():
                if isinstance(event, wsproto.events.Ping):
                    connection.sendall(state.send(event.response()))
                    continue
                _add(told, event)
                if isinstance(event, wsproto.events.CloseConnection | wsproto.events.RejectConnection):
                    return told
                if waiting and getattr(event, "message_finished", True):
                    connection.sendall(state.send(waiting.pop(0)))
    return [*told, "ended"]


def _add(told, event):
    """Record an event; parts of a message are joined, since how it is split depends on the network."""
    match event:
        case wsproto.events.AcceptConnection():
            told.append(("accepted", event.subprotocol, (b"x-own", b"1") in event.extra_headers))
        case wsproto.events.RejectConnection():
            told.append(("rejected", event.status_code))
        case wsproto.events.Message():
            part = told.pop()[1] if told and told[-1][0] == "part" else event.data[:0]
            told.append(("message" if event.message_finished else "part", part + event.data))
        case wsproto.events.CloseConnection():
            told.append(("closed", event.code, event.reason))
        case _:
            told.append((type(event).__name__,))


def _message(data):
    if data == "ping":
        return wsproto.events.Ping(payload=b"are you there")
    return wsproto.events.TextMessage(data=data) if isinstance(data, str) else wsproto.events.BytesMessage(data=data)
