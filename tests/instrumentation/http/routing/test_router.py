"""Limits and permissions by route, through mounts and in front of hosts with unknown routes."""

import pytest
from fastapi import APIRouter, FastAPI
from flask import Blueprint, Flask
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix


def limit(route):
    return {"name": "rpm", "unit": "request", "amount": 2, "window_s": 60, "route": route}


async def hello(request):
    return PlainTextResponse("hello")


def mounted_fastapi():
    app, sub, router = FastAPI(), FastAPI(), APIRouter()
    router.get("/items/{n}")(lambda n: n)
    sub.include_router(router, prefix="/v1")
    app.mount("/sub", sub)
    return app


def mounted_starlette():
    return Starlette(routes=[Mount("/sub", routes=[Mount("/v1", routes=[Route("/items/{n}", hello)])])])


@pytest.mark.parametrize("make", [mounted_fastapi, mounted_starlette])
async def test_mounted_app_has_route_limits_and_permissions(service, guard, visit, make):
    route = "/sub/v1/items/{n}"
    _, token = service.key(limit(route), routes=[route])
    app = guard(make())
    statuses = [(await visit(app, token, f"/sub/v1/items/{n}")).status_code for n in ("1", "sub", "items", "v1")]
    assert statuses == [200, 200, 429, 429]
    assert (await visit(app, token, "/sub/v1/nothing")).json()["code"] == "endpoint_not_allowed"
    *known, nothing = [event["route"] for event in service.events(5)]
    assert known == [route] * 4
    assert nothing.endswith("/{path}")


def test_mounted_wsgi_app_has_route_limits_and_permissions(service, guard_wsgi, visit_wsgi):
    sub, items = Flask("sub"), Blueprint("items", "items")
    items.add_url_rule("/items/<n>", "item", lambda n: n)
    sub.register_blueprint(items, url_prefix="/v1")
    app = guard_wsgi(ProxyFix(DispatcherMiddleware(Flask("outer"), {"/sub": sub})))
    route = "/sub/v1/items/<n>"
    _, token = service.key(limit(route), routes=[route])
    statuses = [visit_wsgi(app, token, f"/sub/v1/items/{n}").status_code for n in ("1", "sub", "items")]
    assert statuses == [200, 200, 429]
    assert visit_wsgi(app, token, "/v1/items/1").json()["code"] == "endpoint_not_allowed"
    assert [event["route"] for event in service.events(4)] == [route] * 3 + ["_unmatched"]


def test_mounted_wsgi_app_without_routes_has_the_limits_and_permissions_of_its_mount(service, guard_wsgi, visit_wsgi):
    def plain(environ, start_response):
        start_response("200 OK", [])
        return [b"ok"]

    app = guard_wsgi(DispatcherMiddleware(Flask("outer"), {"/plain": plain}))
    _, token = service.key(limit("/plain/*"), routes=["/plain/*"])
    assert [visit_wsgi(app, token, f"/plain/{n}").status_code for n in range(3)] == [200, 200, 429]
    assert visit_wsgi(app, token, "/other").json()["code"] == "endpoint_not_allowed"
    _, token = service.key()
    assert visit_wsgi(app, token, "/plain/a/b").status_code == 200
    routes = [event["route"] for event in service.events(5)]
    assert sorted(routes) == sorted([*["/plain/{path}"] * 4, "_unmatched"])


class Bare:
    """A host whose router does not expose what it matches, like Sanic, BlackSheep and Lilya."""

    router = object()

    async def __call__(self, scope, receive, send):
        await PlainTextResponse("hello")(scope, receive, send)


async def test_all_route_limits_count_if_the_route_is_unknown(service, guard, visit):
    _, token = service.key(limit("/items"))
    app = guard(Bare())
    assert [(await visit(app, token, "/elsewhere")).status_code for _ in range(3)] == [200, 200, 429]


async def test_permissions_refuse_if_the_route_is_unknown(service, guard, visit):
    _, token = service.key(routes=["/items*"])
    assert (await visit(guard(Bare()), token, "/items")).json()["code"] == "endpoint_not_allowed"
