"""The reported route is the one that runs, for any root path and slashes in a request."""

import asyncio
from itertools import product

import falcon.asgi
import httpx
import pytest
from asgiref.wsgi import WsgiToAsgi
from fastapi import FastAPI, Request
from flask import Flask
from hosts import HOSTS
from litestar import Litestar, get
from litestar.handlers import websocket_listener
from litestar.params import FromPath
from quart import Quart, websocket
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect

from keygauge.http.routing import route, wsgi_route
from keygauge.http.routing.open_paths import OpenPaths


def make_fastapi():
    app = FastAPI()

    @app.get("/chat", response_class=PlainTextResponse)
    @app.get("/free/{rest:path}", response_class=PlainTextResponse)
    def told(request: Request):
        return request.scope["route"].path_format

    @app.websocket("/ws")
    async def ws(websocket):
        await websocket.accept()

    return app


def make_litestar():
    @get("/chat", media_type="text/plain")
    async def chat() -> str:
        return "/chat"

    @get("/free/{rest:path}", media_type="text/plain")
    async def free(rest: FromPath[str]) -> str:
        return "/free/{rest}"

    @websocket_listener("/ws")
    async def ws(data: str) -> str:
        return data

    return Litestar([chat, free, ws], openapi_config=None, logging_config=None)


def make_quart():
    app = Quart("host")
    for template in ("/chat", "/free/<path:rest>"):
        app.add_url_rule(template, template, lambda template=template, **_: template)

    @app.websocket("/ws")
    async def ws():
        await websocket.accept()

    return app


def make_flask():
    app = Flask("host")
    for template in ("/chat", "/free/<path:rest>"):
        app.add_url_rule(template, template, lambda template=template, **_: template)
    return WsgiToAsgi(app)


def make_falcon():
    class Resource:
        async def on_get(self, request, response, **params):
            response.text = request.uri_template

    app = falcon.asgi.App()
    app.req_options.strip_url_path_trailing_slash = True
    for template in ("/chat", "/free/{rest:path}"):
        app.add_route(template, Resource())
    return app


MAKERS = [make_fastapi, make_litestar, make_quart, make_flask, make_falcon]
ROOTS = ("", "/api", "/z", "/free", "/fr")
PATHS = (
    *("/chat", "/chat/", "//chat", "/chat///", "/api/chat", "/api//chat/", "/apichat", "/free/x", "/free/chat"),
    *("/free/api/chat", "/free/z/chat", "/free/free/chat", "/api", "/api/free/api/chat", "/z/chat", "/x/api/chat"),
)


@pytest.mark.parametrize("make", MAKERS)
async def test_reported_route_is_the_one_that_runs(make):
    app, ran = make(), 0
    for root, path in product(ROOTS, PATHS):
        scope = {"type": "http", "method": "GET", "path": path, "root_path": root, "headers": []}
        told = route.follow(scope, app).template
        transport = httpx.ASGITransport(app, root_path=root)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            answer = await client.get(f"http://localhost{path}")
        if answer.status_code == 200:
            ran += 1
            assert told == answer.text, (root, path)
        else:
            assert told == "_unmatched", (root, path)
    assert ran > 10


def test_falcon_strips_the_trailing_slash_if_configured():
    app = falcon.App()
    app.add_route("/chat", object())
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/chat/"}
    assert wsgi_route.follow(environ, app).template == "_unmatched"
    app.req_options.strip_url_path_trailing_slash = True
    assert wsgi_route.follow(environ, app).template == "/chat"


def test_django_uses_its_configured_prefix(monkeypatch):
    app = HOSTS["django-asgi"]().app
    scope = {"type": "http", "method": "GET", "path": "/api/items/7", "root_path": "", "headers": []}
    assert route.follow(scope, app).template is None
    monkeypatch.setattr("django.conf.settings.FORCE_SCRIPT_NAME", "/api")
    assert route.follow(scope, app).template == "/items/<int:n>"


@pytest.mark.parametrize("path", ["/static/api/chat", "/static/x/api/chat", "/static/api"])
def test_path_is_open_only_if_it_is_for_every_framework(path):
    paths = OpenPaths(["/static*"])
    assert not paths.has_scope({"path": path, "root_path": "/api", "headers": []})
    assert paths.has_scope({"path": "/api/static/", "root_path": "/api", "headers": []})
    assert paths.has_scope({"path": "/static/x.js", "root_path": "/api", "headers": []})


@pytest.mark.parametrize("make", [make_fastapi, make_litestar, make_quart])
def test_route_limits_apply_to_sessions(service, guard, make):
    _, token = service.key({"name": "rpm", "unit": "request", "amount": 0, "window_s": 60, "route": "/ws"})
    client = TestClient(guard(make()))
    headers = {"authorization": f"Bearer {token}"}
    with (
        pytest.raises((WebSocketDenialResponse, WebSocketDisconnect)),
        client.websocket_connect("/ws", headers=headers),
    ):
        pass
    (event,) = service.events(1)
    assert (event["route"], event["outcome"]) == ("/ws", "limited")


def test_routes_of_quart_with_host_matching_are_unknown():
    app = make_quart()
    app.subdomain_matching = True
    scope = {"type": "http", "method": "GET", "path": "/chat", "root_path": "", "headers": []}
    assert route.follow(scope, app).template is None


@pytest.mark.parametrize("path", ["/chat", "/chat/", "//chat", "/chat///"])
def test_extra_slashes_do_not_bypass_a_route_limit(service, guard, visit, path):
    limit = {"name": "rpm", "unit": "request", "amount": 0, "window_s": 60, "route": "/chat"}
    _, token = service.key(limit, routes=["/chat"])
    answer = asyncio.run(visit(guard(make_litestar()), token, f"http://api{path}"))
    assert (answer.status_code, answer.json()["limit"]) == (429, "rpm")
