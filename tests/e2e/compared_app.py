"""Apps whose behaviour, correct or not, depends on the path: plain, and behind KeyGauge. Servers import this file."""

import asyncio
import sys

from keygauge import asgi as keygauge_asgi
from keygauge import wsgi as keygauge_wsgi

TEXT = [(b"content-type", b"text/plain")]
WSGI_TEXT = [("Content-Type", "text/plain")]
STATUSES = {"204", "205", "304"}
BIG = 300_000
MANY = 200


async def plain_asgi(scope, receive, send):
    """Behave as the path says."""
    if scope["type"] == "websocket":
        await converse(scope, receive, send)
        return
    assert scope["type"] == "http"
    case = scope["path"].strip("/").partition("/")[0]
    if case == "early":
        await send(start(413, (b"content-length", b"4")))
        await send(body(b"last"))
        return
    if case == "unread":
        await send(start())
        await send(body(b"unread"))
        return
    sent, more = b"", True
    while more:
        message = await receive()
        sent, more = sent + message.get("body", b""), message.get("more_body", False)
        if case == "first-part":
            break
    if case == "raise":
        raise LookupError
    if case != "nothing":
        await answer(case, scope["method"].encode() + b" " + sent, send)


async def answer(case, last, send):
    """Send the answer of a case, in parts or as a whole."""
    if case in STATUSES:
        await send(start(int(case), headers=[]))
        await send({"type": "http.response.body"})
        return
    status, extra = {
        "headers": (418, [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"), (b"x-odd", bytes([228]))]),
        "redirect": (307, [(b"location", b"/echo")]),
        "gzip": (200, [(b"content-encoding", b"gzip")]),
        "event-stream": (200, [(b"content-type", b"text/event-stream")]),
        "length": (200, [(b"content-length", str(len(last)).encode())]),
        "short-length": (200, [(b"content-length", b"2")]),
        "long-length": (200, [(b"content-length", b"9000")]),
        "server": (200, [(b"server", b"own"), (b"date", b"now")]),
        "teapot": (418, []),
        "unavailable": (503, [(b"retry-after", b"7")]),
    }.get(case, (200, []))
    await send(start(status, *extra))
    if case == "start-twice":
        await send(start(500))
    if case in {"broken", "short"}:
        await send(body(b"part", more=True))
        if case == "broken":
            raise LookupError
        return
    parts = {"stream": (3, b"part"), "many": (MANY, b"x"), "empty-parts": (5, b""), "slow": (2, b"part")}
    count, part = parts.get(case, (0, b""))
    for _ in range(count):
        await send(body(part, more=True))
        if case in {"stream", "slow"}:
            await asyncio.sleep(0.01)
    await send(body(b"x" * BIG if case == "big" else last))
    if case == "after-end":
        await send(body(b"more"))


def start(status=200, *extra, headers=TEXT):
    return {"type": "http.response.start", "status": status, "headers": [*headers, *extra]}


def body(part, *, more=False):
    return {"type": "http.response.body", "body": part, "more_body": more}


async def converse(scope, receive, send):
    """Run a WebSocket conversation that depends on the path."""
    case = scope["path"].strip("/")
    await receive()
    if case == "reject":
        await send({"type": "websocket.close", "code": 1008})
        return
    if case == "raise-before":
        raise LookupError
    subprotocol = scope["subprotocols"][0] if scope["subprotocols"] else None
    await send({"type": "websocket.accept", "subprotocol": subprotocol, "headers": [(b"x-own", b"1")]})
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return
        if case == "raise":
            raise LookupError
        if case == "close":
            await send({"type": "websocket.close", "code": 4000, "reason": "enough"})
            return
        told = {name: message[name] for name in ("text", "bytes") if message.get(name) is not None}
        for _ in range(3 if case == "thrice" else 1):
            await send({"type": "websocket.send", **told})


asgi = keygauge_asgi.KeyGaugeMiddleware(plain_asgi)


def plain_wsgi(environ, start_response):
    """Behave as the path says."""
    case = environ["PATH_INFO"].strip("/").partition("/")[0]
    if case == "early":
        start_response("413 Too Much", [*WSGI_TEXT, ("Content-Length", "4")])
        return [b"last"]
    if case == "unread":
        start_response("200 OK", WSGI_TEXT)
        return [b"unread"]
    length, stream = int(environ.get("CONTENT_LENGTH") or 0), environ["wsgi.input"]
    sent = stream.readline(length) if case == "first-part" else stream.read(length) if length else b""
    last = environ["REQUEST_METHOD"].encode() + b" " + sent
    if case == "raise":
        raise LookupError
    if case == "nothing":
        return []
    if case in STATUSES:
        start_response(f"{case} Bare", [])
        return []
    if case == "again":
        return again(start_response)
    status, extra = {
        "headers": ("418 Odd", [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]),
        "redirect": ("307 There", [("Location", "/echo")]),
        "gzip": ("200 OK", [("Content-Encoding", "gzip")]),
        "event-stream": ("200 OK", [("Content-Type", "text/event-stream")]),
        "length": ("200 OK", [("Content-Length", str(len(last)))]),
        "long-length": ("200 OK", [("Content-Length", "9000")]),
        "server": ("200 OK", [("Server", "own")]),
        "teapot": ("418 I'm a teapot", []),
        "unavailable": ("503 Later", [("Retry-After", "7")]),
    }.get(case, ("200 OK", []))
    write = start_response(status, [*WSGI_TEXT, *extra])
    if case == "write" and write is not None:
        write(b"written ")
    if case == "late-start":
        return [b"", last]
    parts = {"stream": (3, b"part"), "many": (MANY, b"x"), "empty-parts": (5, b""), "broken": (1, b"part")}
    count, part = parts.get(case, (0, b""))
    if count:
        return generate(count, part, last, fails=case == "broken")
    return [b"x" * BIG if case == "big" else last]


def again(start_response):
    """Restart the response with the exception that caused it."""
    start_response("200 OK", WSGI_TEXT)
    try:
        {}["nothing"]
    except LookupError:
        start_response("503 Again", WSGI_TEXT, sys.exc_info())
    return [b"again"]


def generate(count, part, last, *, fails):
    for _ in range(count):
        yield part
    if fails:
        raise LookupError
    yield last


wsgi = keygauge_wsgi.KeyGaugeMiddleware(plain_wsgi)
