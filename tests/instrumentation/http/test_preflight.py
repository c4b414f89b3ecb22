"""CORS preflights: free if a CORS layer answers them, and never a way around the key."""

import falcon
import pytest
from django.conf import settings as django_settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from fastapi import FastAPI
from flask import Flask
from hosts.django import configure
from litestar import Litestar, post
from litestar.config.cors import CORSConfig
from quart import Quart
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

SITE = "https://site.example"
ASKS = {"origin": SITE, "access-control-request-method": "POST", "access-control-request-headers": "authorization"}
CORS = Middleware(CORSMiddleware, allow_origins=[SITE], allow_methods=["POST"], allow_headers=["authorization"])


@pytest.fixture
def ran():
    """The requests that reached a handler."""
    return []


@pytest.fixture
def raw(ran):
    """An ASGI app that answers any method."""

    async def raw(scope, receive, send):
        ran.append((await receive())["body"])
        await PlainTextResponse("done")(scope, receive, send)

    return raw


def starlette(raw):
    return Starlette(routes=[Mount("/chat", raw)])


def fastapi(raw):
    app = FastAPI()
    app.mount("/chat", raw)
    return app


@pytest.mark.parametrize("make", [starlette, fastapi, lambda raw: raw])
@pytest.mark.parametrize("body", [b"", b'{"model": "m"}'])
async def test_preflight_without_a_cors_layer_needs_a_key(guard, visit, raw, ran, make, body):
    answer = await visit(guard(make(raw)), path="/chat", method="OPTIONS", headers=ASKS, content=body)
    assert (answer.status_code, answer.json()["code"], ran) == (401, "key_missing", [])


@pytest.mark.parametrize("inside", [True, False])
async def test_preflight_reaches_a_cors_layer(guard, visit, raw, ran, inside):
    if inside:  # the app, as with add_middleware
        app = Starlette(routes=[Mount("/chat", raw)], middleware=[CORS])
    else:
        app = CORSMiddleware(fastapi(raw), **CORS.kwargs)
    answer = await visit(guard(app), path="/chat", method="OPTIONS", headers=ASKS)
    assert (answer.status_code, answer.headers["access-control-allow-origin"], ran) == (200, SITE, [])


async def test_preflight_reaches_only_the_cors_layer_of_its_route(guard, visit, raw, ran):
    app = guard(
        Starlette(
            routes=[Mount("/open", Starlette(routes=[Mount("/chat", raw)], middleware=[CORS])), Mount("/chat", raw)]
        )
    )
    assert (await visit(app, path="/open/chat", method="OPTIONS", headers=ASKS)).status_code == 200
    assert (await visit(app, path="/chat", method="OPTIONS", headers=ASKS)).status_code == 401
    route = guard(Starlette(routes=[Route("/chat", raw, middleware=[CORS], methods=["OPTIONS", "POST"])]))
    assert (await visit(route, path="/chat", method="OPTIONS", headers=ASKS)).status_code == 200
    assert ran == []


@pytest.mark.parametrize("declared", [{"content-length": "14"}, {"transfer-encoding": "chunked"}])
async def test_preflight_with_a_body_is_a_normal_call(guard, visit, raw, ran, declared):
    app = guard(CORSMiddleware(raw, **CORS.kwargs))

    async def chunks():
        yield b'{"model": "m"}'

    answer = await visit(app, path="/chat", method="OPTIONS", headers={**ASKS, **declared}, content=chunks())
    assert (answer.status_code, ran) == (401, [])


async def test_undeclared_body_does_not_reach_the_app(guard, raw, ran):
    class CorsOfTheirOwn:
        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            await self.app(scope, receive, send)

    async def receive():
        return {"type": "http.request", "body": b'{"model": "m"}', "more_body": False}

    sent = []

    async def send(message):
        sent.append(message)

    headers = [(name.encode(), value.encode()) for name, value in ASKS.items()]
    scope = {"type": "http", "method": "OPTIONS", "path": "/chat", "headers": headers, "client": ("192.0.2.1", 1)}
    await guard(CorsOfTheirOwn(raw))(scope, receive, send)
    assert ran == [b""]
    assert sent[0]["status"] == 200


@pytest.mark.parametrize("name", ["CorsairGateway", "SCORSE", "record_decors", "Scorsese"])
async def test_layer_with_a_similar_name_is_not_a_cors_layer(guard, visit, raw, ran, name):
    async def call(self, scope, receive, send):
        await raw(scope, receive, send)

    app = type(name, (), {"__call__": call})()
    answer = await visit(guard(app), path="/chat", method="OPTIONS", headers=ASKS)
    assert (answer.status_code, ran) == (401, [])


async def test_litestar_and_quart_answer_preflights_themselves(guard, visit):
    @post("/chat")
    async def chat() -> str:
        raise AssertionError

    app = guard(
        Litestar([chat], cors_config=CORSConfig(allow_origins=[SITE]), openapi_config=None, logging_config=None)
    )
    assert (await visit(app, path="/chat", method="OPTIONS", headers=ASKS)).status_code == 204
    app = guard(Litestar([chat], openapi_config=None, logging_config=None))
    assert (await visit(app, path="/chat", method="OPTIONS", headers=ASKS)).status_code == 401
    quart = Quart("host")
    quart.add_url_rule("/chat", "chat", chat, methods=["POST"])
    quart.add_url_rule("/any", "any", chat, methods=["POST", "OPTIONS"])
    assert (await visit(guard(quart), path="/chat", method="OPTIONS", headers=ASKS)).status_code == 200
    assert (await visit(guard(quart), path="/any", method="OPTIONS", headers=ASKS)).status_code == 401


def test_flask_answers_preflights_itself_unless_the_view_does(guard_wsgi, visit_wsgi, ran):
    app = Flask("host")

    def chat():
        ran.append(1)
        return "done"

    app.add_url_rule("/chat", "chat", chat, methods=["POST"])
    app.add_url_rule("/any", "any", chat, methods=["POST", "OPTIONS"])
    api = guard_wsgi(app.wsgi_app)
    assert visit_wsgi(api, path="/chat", method="OPTIONS", headers=ASKS).status_code == 200
    assert visit_wsgi(api, path="/any", method="OPTIONS", headers=ASKS).status_code == 401
    assert visit_wsgi(api, path="/chat", method="OPTIONS", headers=ASKS, content=b"x").status_code == 401
    assert ran == []


def test_falcon_answers_preflights_if_it_has_a_cors_layer(guard_wsgi, visit_wsgi, ran):
    class Chat:
        def on_post(self, request, response):
            ran.append(1)

    statuses = []
    for cors_enable in (True, False):
        app = falcon.App(cors_enable=cors_enable)
        app.add_route("/chat", Chat())
        app.add_sink(lambda *_, **__: ran.append(1), "/sink")
        api = guard_wsgi(app)
        statuses += [
            visit_wsgi(api, path=path, method="OPTIONS", headers=ASKS).status_code for path in ("/chat", "/sink")
        ]
    assert (statuses, ran) == ([200, 401, 401, 401], [])


async def test_django_view_needs_a_key(guard, guard_wsgi, visit, visit_wsgi):
    configure()
    api, api_wsgi = guard(get_asgi_application()), guard_wsgi(get_wsgi_application())
    for body in (b"", b"x"):
        answer = await visit(api, path="/items/1", method="OPTIONS", headers=ASKS, content=body)
        assert answer.status_code == 401
        assert visit_wsgi(api_wsgi, path="/items/1", method="OPTIONS", headers=ASKS, content=body).status_code == 401


def test_django_cors_layer_answers_for_its_paths(guard_wsgi, visit_wsgi, monkeypatch):
    configure()
    monkeypatch.setattr(django_settings, "MIDDLEWARE", ["corsheaders.middleware.CorsMiddleware"])
    monkeypatch.setattr(django_settings, "CORS_ALLOWED_ORIGINS", [SITE], raising=False)
    monkeypatch.setattr(django_settings, "CORS_URLS_REGEX", "^/stream$", raising=False)
    api = guard_wsgi(get_wsgi_application())
    answer = visit_wsgi(api, path="/stream", method="OPTIONS", headers=ASKS)
    assert (answer.status_code, answer.headers["access-control-allow-origin"], answer.text) == (200, SITE, "")
    assert visit_wsgi(api, path="/items/1", method="OPTIONS", headers=ASKS).status_code == 401
