"""The route template in FastAPI and Starlette."""

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from keygauge.call import OpenRoute
from keygauge.http.routing import route, routed_path


def fastapi_app():
    async def handler():
        return {}

    router = APIRouter(prefix="/v1")
    router.get("/items/{item_id}")(handler)
    inner = APIRouter(prefix="/deep")
    inner.get("/{name:path}")(handler)
    router.include_router(inner)
    sub = FastAPI()
    sub.get("/users/{user_id}")(handler)
    app = FastAPI()
    app.include_router(router, prefix="/api")
    app.mount("/sub/{tenant}", sub)
    app.get("/")(handler)
    return app


class Seen:
    def __init__(self, app):
        self.app = app
        self.before = self.after = None

    async def __call__(self, scope, receive, send):
        self.before = route.find(scope, self.app)
        await self.app(scope, receive, send)
        self.after = route.find(scope, self.app)


async def seen(app, path, method="GET"):
    middleware = Seen(app)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(middleware), base_url="http://api") as client:
        await client.request(method, path)
    return middleware.before, middleware.after


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("/", "/"),
        ("/api/v1/items/7", "/api/v1/items/{item_id}"),
        ("/api/v1/deep/a/b/c", "/api/v1/deep/{name}"),
        ("/sub/acme/users/9", "/sub/{tenant}/users/{user_id}"),
        ("/sub/users/users/9", "/sub/{tenant}/users/{user_id}"),
        ("/sub/sub/users/sub", "/sub/{tenant}/users/{user_id}"),
        ("/sub/acme/nothing", "/sub/{tenant}/{path}"),
        ("/nothing", "_unmatched"),
    ],
)
async def test_fastapi_template_is_complete(path, template):
    assert await seen(fastapi_app(), path) == (template, template)


async def test_call_with_a_wrong_method_belongs_to_the_route():
    template = "/api/v1/items/{item_id}"
    assert await seen(fastapi_app(), "/api/v1/items/7", method="DELETE") == (template, template)


def nested(leaf):
    """A Starlette app in a FastAPI app's included router, in a Starlette app, in another."""
    deepest = Starlette(
        routes=[Route("/x/{y}", leaf), Mount("/static", leaf), Mount("/{a}", routes=[Route("/{a}", leaf)])]
    )
    router = APIRouter()
    router.mount("/deepest", deepest)
    middle = FastAPI()
    middle.include_router(router, prefix="/inc")
    return Starlette(routes=[Mount("/m/{n}", Starlette(routes=[Mount("/middle", middle)]))])


@pytest.mark.parametrize(
    ("below", "template"),
    [
        ("/x/1", "/x/{y}"),
        ("/x/deepest", "/x/{y}"),
        ("/static/a/b.js", "/static/{path}"),
        ("/m/middle", "/{a}/{a}"),
        ("/p/q/r/s", "/{a}/{path}"),
        ("/nothing", "/{path}"),
    ],
)
async def test_nested_mounts_appear_once_each(below, template):
    app = nested(JSONResponse({}))
    template = "/m/{n}/middle/inc/deepest" + template
    assert await seen(app, f"/m/m/middle/inc/deepest{below}") == (template, template)


async def test_middleware_that_hides_the_scope_does_not_hide_the_route():
    app = fastapi_app()

    async def copying(scope, receive, send):
        await app(dict(scope), receive, send)

    template = "/sub/{tenant}/users/{user_id}"
    assert await seen(CORSMiddleware(copying), "/sub/acme/users/9") == (template, template)


@pytest.mark.parametrize("root_path", ["", "/api"])
async def test_root_path_is_not_part_of_the_route(root_path):
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(middleware := Seen(fastapi_app()), root_path=root_path), base_url="http://api"
    ) as client:
        answer = await client.get(f"{root_path}/sub/acme/users/9")
    assert answer.status_code == 200
    assert (middleware.before, middleware.after) == ("/sub/{tenant}/users/{user_id}",) * 2


async def test_middleware_in_a_mounted_app_reports_the_whole_route():
    sub = FastAPI()
    sub.get("/users/{user_id}")(lambda user_id: {})
    middleware = Seen(sub)
    app = Starlette(routes=[Mount("/sub/{tenant}", middleware)])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as client:
        await client.get("/sub/users/users/9")
    assert (middleware.before, middleware.after) == ("/sub/{tenant}/users/{user_id}",) * 2


class Elsewhere:
    """An app whose router is not Starlette's."""

    def __init__(self, router):
        self.router = router

    async def __call__(self, scope, receive, send):
        await JSONResponse({})(scope, receive, send)


class Routes:
    routes = (object(), "/items", None)  # of various types, as in Lilya, Sanic and BlackSheep

    def __iter__(self):
        raise TypeError


@pytest.mark.parametrize("router", [object(), Routes(), {"GET": []}, lambda: None])
async def test_unknown_router_has_no_route(router):
    assert await seen(Elsewhere(router), "/items") == (None, None)


@pytest.mark.parametrize("inner", [Elsewhere(object()), Starlette(routes=[Mount("/in", Elsewhere(object()))])])
async def test_mounted_app_with_an_unknown_router_may_have_any_route(inner):
    below = "/in" if isinstance(inner, Starlette) else ""
    scope = {"type": "http", "method": "GET", "path": f"/out{below}/items", "root_path": ""}
    template = route.find(scope, Starlette(routes=[Mount("/out", inner)]))
    assert template == f"/out{below}/{{path}}"
    assert isinstance(template, OpenRoute)


@pytest.mark.parametrize("inner", [Starlette(routes=[Route("/items", JSONResponse({}))]), JSONResponse({})])
def test_path_without_a_route_in_a_mounted_app_has_no_other_route(inner):
    app = Starlette(routes=[Mount("/out", inner)])
    template = route.find({"type": "http", "method": "GET", "path": "/out/none", "root_path": ""}, app)
    assert template == "/out/{path}"
    assert not isinstance(template, OpenRoute)


def test_app_without_a_router_has_no_routes():
    assert route.find({"type": "http", "path": "/"}, object()) == "_unmatched"


@pytest.mark.parametrize(
    ("path", "root_path", "below"),
    [
        ("/api/healthz", "/api", "/healthz"),
        ("/api", "/api", "/"),
        ("/apihealthz", "/api", "/apihealthz"),
        ("/healthz", "", "/healthz"),
        ("/healthz", "/api", "/healthz"),
    ],
)
def test_path_is_the_one_the_app_routes_by(path, root_path, below):
    assert routed_path.of_starlette({"path": path, "root_path": root_path}) == below
