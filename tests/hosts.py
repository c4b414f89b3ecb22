"""One app in every framework, alike in all of them: an item, a stream, one without end, a failure, a prefix."""

import asyncio
import json
import os
import sys
import time
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import django
import falcon
import falcon.asgi
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
ENDLESS = int(os.environ.get("ENDLESS", "1000"))  # chunks: more than any client here waits for
PAUSE_S = 0.01


def lines(count=None):
    for data in [DATA[0]] * count if count else DATA:
        yield f"data: {data}\n\n"
        if count:
            time.sleep(PAUSE_S)


async def alines(count=None):
    for data in [DATA[0]] * count if count else DATA:
        yield f"data: {data}\n\n"
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
    return Host(Litestar([item, stream, endless, fail, sub], openapi_config=None, logging_config=None))


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


def mount(host):
    """Put an app below /mnt in another one of its kind."""
    if host.is_asgi:
        return Starlette(routes=[Mount("/mnt", host.app)])
    return DispatcherMiddleware(make_flask().app, {"/mnt": host.app})
