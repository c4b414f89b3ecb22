"""The middleware around every framework: routes, statuses, usage and ends equal to the truth in the ledger."""

import asyncio
import io
import json
import sys
from contextlib import suppress
from dataclasses import dataclass
from types import ModuleType
from typing import Any
from wsgiref.util import setup_testing_defaults

import django
import falcon
import falcon.asgi
import pytest
from django.conf import settings as django_settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import include, path, re_path
from fastapi import FastAPI
from flask import Blueprint, Flask, Response
from litestar import Litestar, Router, get
from litestar.params import FromPath
from litestar.response import ServerSentEvent
from quart import Blueprint as QuartBlueprint
from quart import Quart
from quart import Response as QuartResponse
from starlette.applications import Starlette
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Mount, Route
from werkzeug.middleware.dispatcher import DispatcherMiddleware

CHAT = {
    "object": "chat.completion",
    "model": "gpt-4o-mini",
    "choices": [],
    "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
}
LAST = json.dumps({**CHAT, "object": "chat.completion.chunk"})
DATA = ['{"choices": []}', LAST, "[DONE]"]
SSE = "text/event-stream"
ENDLESS = 1000  # chunks: more than any client here waits for
PAUSE_S = 0.01


def lines(count=None):
    for data in [DATA[0]] * count if count else DATA:
        yield f"data: {data}\n\n"


async def alines(count=None):
    for line in lines(count):
        yield line
        await asyncio.sleep(PAUSE_S if count else 0)


@dataclass
class Host:
    """An app of one framework: an item, a stream, one without end, a failure, and an item below a prefix."""

    app: Any
    item: str = "/items/{n}"
    sub_item: str = "/sub/{tenant}/items/{n}"
    is_asgi: bool = True


def make_starlette():
    async def item(request):
        return JSONResponse(CHAT)

    async def stream(request):
        return StreamingResponse(alines(), media_type=SSE)

    async def endless(request):
        return StreamingResponse(alines(ENDLESS), media_type=SSE)

    async def fail(request):
        raise LookupError

    own = [Route("/items/{n:int}", item), Route("/stream", stream), Route("/endless", endless), Route("/fail", fail)]
    return Host(Starlette(routes=[*own, Mount("/sub/{tenant}", routes=[Route("/items/{n:int}", item)])]))


def make_fastapi():
    app, sub = FastAPI(), FastAPI()

    @app.get("/items/{n}")
    @sub.get("/items/{n}")
    def item(n: int):
        return CHAT

    @app.get("/stream")
    async def stream():
        return StreamingResponse(alines(), media_type=SSE)

    @app.get("/endless")
    async def endless():
        return StreamingResponse(alines(ENDLESS), media_type=SSE)

    @app.get("/fail")
    def fail():
        raise LookupError

    app.mount("/sub/{tenant}", sub)
    return Host(app)


def make_litestar():
    @get("/items/{n:int}")
    async def item(n: FromPath[int]) -> dict:
        return CHAT

    @get("/stream")
    async def stream() -> ServerSentEvent:
        return ServerSentEvent(iter(DATA))

    @get("/endless")
    async def endless() -> ServerSentEvent:
        async def events():
            async for _ in alines(ENDLESS):
                yield DATA[0]

        return ServerSentEvent(events())

    @get("/fail")
    async def fail() -> None:
        raise LookupError

    sub = Router("/sub/{tenant:str}", route_handlers=[item])
    return Host(Litestar([item, stream, endless, fail, sub], openapi_config=None))


def make_quart():
    app, sub = Quart("host"), QuartBlueprint("sub", "sub")

    @app.get("/items/<int:n>")
    @sub.get("/items/<int:n>")
    async def item(n, tenant=None):
        return CHAT

    @app.get("/stream")
    async def stream():
        return QuartResponse(alines(), mimetype=SSE)

    @app.get("/endless")
    async def endless():
        return QuartResponse(alines(ENDLESS), mimetype=SSE)

    @app.get("/fail")
    async def fail():
        raise LookupError

    app.register_blueprint(sub, url_prefix="/sub/<tenant>")
    return Host(app, item="/items/<int:n>", sub_item="/sub/<tenant>/items/<int:n>")


def make_flask():
    app, sub = Flask("host"), Blueprint("sub", "sub")

    @app.get("/items/<int:n>")
    @sub.get("/items/<int:n>")
    def item(n, tenant=None):
        return CHAT

    @app.get("/stream")
    def stream():
        return Response(lines(), mimetype=SSE)

    @app.get("/endless")
    def endless():
        return Response(lines(ENDLESS), mimetype=SSE)

    @app.get("/fail")
    def fail():
        raise LookupError

    app.register_blueprint(sub, url_prefix="/sub/<tenant>")
    return Host(app.wsgi_app, item="/items/<int:n>", sub_item="/sub/<tenant>/items/<int:n>", is_asgi=False)


def configure_django():
    """Configure Django, which has one set of URLs in a process."""
    if django_settings.configured:
        return
    urls = ModuleType("keygauge_test_urls")

    def item(request, n, tenant=None):
        return HttpResponse(json.dumps(CHAT), content_type="application/json")

    def stream(request, *, count=None):
        chunks = alines(count) if hasattr(request, "scope") else lines(count)
        return StreamingHttpResponse(chunks, content_type=SSE)

    def fail(request):
        raise LookupError

    urls.urlpatterns = [
        path("items/<int:n>", item),
        path("stream", stream),
        path("endless", stream, {"count": ENDLESS}),
        path("fail", fail),
        path("sub/<tenant>/", include([re_path(r"^items/(?P<n>\d+)$", item)])),
    ]
    sys.modules[urls.__name__] = urls
    django_settings.configure(
        ALLOWED_HOSTS=["*"], ROOT_URLCONF=urls.__name__, SECRET_KEY="x" * 50, MIDDLEWARE=[], LOGGING_CONFIG=None
    )
    django.setup()


def make_django(get_application, *, is_asgi):
    configure_django()
    return Host(get_application(), item="/items/<int:n>", sub_item=r"/sub/<tenant>/items/(?P<n>\d+)$", is_asgi=is_asgi)


class FalconResource:
    def on_get(self, request, response, n=None, tenant=None):
        if request.path == "/fail":
            raise LookupError
        if n is None:
            response.content_type = SSE
            response.stream = (line.encode() for line in lines(ENDLESS if request.path == "/endless" else None))
        else:
            response.media = CHAT


class FalconAsyncResource:
    async def on_get(self, request, response, n=None, tenant=None):
        if request.path == "/fail":
            raise LookupError
        if n is None:
            response.sse = self.events(ENDLESS if request.path == "/endless" else None)
        else:
            response.media = CHAT

    async def events(self, count):
        async for line in alines(count):
            yield falcon.asgi.SSEvent(text=line.removeprefix("data: ").strip())


def make_falcon(app, resource, *, is_asgi):
    for template in ("/items/{n:int}", "/stream", "/endless", "/fail", "/sub/{tenant}/items/{n:int}"):
        app.add_route(template, resource)
    return Host(app, item="/items/{n:int}", sub_item="/sub/{tenant}/items/{n:int}", is_asgi=is_asgi)


HOSTS = {
    "starlette": make_starlette,
    "fastapi": make_fastapi,
    "litestar": make_litestar,
    "quart": make_quart,
    "flask": make_flask,
    "django-asgi": lambda: make_django(get_asgi_application, is_asgi=True),
    "django-wsgi": lambda: make_django(get_wsgi_application, is_asgi=False),
    "falcon-asgi": lambda: make_falcon(falcon.asgi.App(), FalconAsyncResource(), is_asgi=True),
    "falcon-wsgi": lambda: make_falcon(falcon.App(), FalconResource(), is_asgi=False),
}


@pytest.fixture(params=HOSTS)
def host(request):
    return HOSTS[request.param]()


@pytest.fixture
def drive(guard, guard_wsgi):
    """Send GET requests, one after another: (app, token, paths) -> the answers' statuses. `leave` after one chunk."""

    def drive(app, token, *paths, is_asgi, leave=False):
        if is_asgi:
            guarded = guard(app)
            return asyncio.run(drive_asgi(guarded, token, paths, leave=leave))
        guarded = guard_wsgi(app)
        return [get_wsgi(guarded, token, path, leave=leave) for path in paths]

    return drive


async def drive_asgi(app, token, paths, *, leave):
    return [await get_asgi(app, token, path, leave=leave) for path in paths]


async def get_asgi(app, token, path, *, leave):
    statuses = []
    left = asyncio.Event()
    requests = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive():
        if requests:
            return requests.pop()
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        if message["type"] == "http.response.start":
            statuses.append(message["status"])
        elif (leave and message.get("body")) or not message.get("more_body"):
            left.set()

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"api"), (b"authorization", f"Bearer {token}".encode())],
        "client": ("192.0.2.1", 5000),
        "server": ("api", 80),
        "state": {},
    }
    with suppress(LookupError, asyncio.CancelledError):  # servers log what comes through
        await app(scope, receive, send)
    return statuses[0]


def get_wsgi(app, token, path, *, leave):
    statuses = []
    environ = {
        "PATH_INFO": path,
        "HTTP_AUTHORIZATION": f"Bearer {token}",
        "REMOTE_ADDR": "192.0.2.1",
        "wsgi.input": io.BytesIO(),
    }
    setup_testing_defaults(environ)
    answer = app(environ, lambda status, headers, exc_info=None: statuses.append(int(status[:3])))
    try:
        for chunk in answer:
            if leave and chunk:
                break
    finally:
        if hasattr(answer, "close"):
            answer.close()
    return statuses[0]


def seen(event):
    return (event["route"], event["status"], event["error"], event["stream"], event["usage_status"])


def test_json_answers_are_counted_with_route_and_usage(service, drive, host):
    made, token = service.key()
    assert drive(host.app, token, "/items/1", "/items/2", is_asgi=host.is_asgi) == [200, 200]
    events = service.events(2)
    assert [seen(event) for event in events] == [(host.item, 200, None, None, "reported")] * 2
    assert {(event["key_id"], event["input_tokens"], event["output_tokens"]) for event in events} == {(made.id, 11, 7)}
    assert {(event["model"], event["ip"]) for event in events} == {("gpt-4o-mini", "192.0.2.1")}


def test_stream_is_counted_with_usage(service, drive, host):
    _, token = service.key()
    assert drive(host.app, token, "/stream", is_asgi=host.is_asgi) == [200]
    (event,) = service.events(1)
    assert seen(event) == ("/stream", 200, None, "sse", "reported")
    assert (event["input_tokens"], event["output_tokens"], event["messages"]) == (11, 7, 3)


def test_client_that_leaves_is_settled(service, drive, host):
    _, token = service.key()
    assert drive(host.app, token, "/endless", is_asgi=host.is_asgi, leave=True) == [200]
    (event,) = service.events(1)
    assert (event["route"], event["status"], event["stream"]) == ("/endless", 200, "sse")
    assert event["error"] in {"client_disconnected", "CancelledError"}
    assert 0 < event["messages"] < ENDLESS


def test_exception_is_a_500(service, drive, host):
    _, token = service.key()
    assert drive(host.app, token, "/fail", is_asgi=host.is_asgi) == [500]
    (event,) = service.events(1)
    assert seen(event)[:3] == ("/fail", 500, "500")


def test_paths_that_no_route_takes_are_one_route(service, drive, host):
    _, token = service.key()
    assert drive(host.app, token, "/nothing", "/items/x/y", is_asgi=host.is_asgi) == [404, 404]
    assert {(event["route"], event["status"]) for event in service.events(2)} == {("_unmatched", 404)}


def test_prefixes_are_part_of_the_route(service, drive, host):
    _, token = service.key()
    assert drive(host.app, token, "/sub/acme/items/1", is_asgi=host.is_asgi) == [200]
    (event,) = service.events(1)
    assert seen(event) == (host.sub_item, 200, None, None, "reported")


def test_app_mounted_in_another_has_the_whole_route(service, drive, host):
    if isinstance(host.app, falcon.asgi.App):
        pytest.skip("Falcon knows no root_path: its routes do not begin below a mount")
    _, token = service.key()
    if host.is_asgi:
        outer = Starlette(routes=[Mount("/mnt", host.app)])
    else:
        outer = DispatcherMiddleware(make_flask().app, {"/mnt": host.app})
    assert drive(outer, token, "/mnt/items/1", is_asgi=host.is_asgi) == [200]
    (event,) = service.events(1)
    assert seen(event) == (f"/mnt{host.item}", 200, None, None, "reported")


def test_refused_call_has_the_route_that_it_asked_for(service, drive, host):
    _, token = service.key({"name": "rpm", "unit": "request", "amount": 1, "window_s": 60})
    assert drive(host.app, token, "/items/1", "/items/2", is_asgi=host.is_asgi) == [200, 429]
    assert [event["route"] for event in service.events(2)] == [host.item, host.item]
