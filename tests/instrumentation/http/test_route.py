"""The route template, as FastAPI and Starlette leave it."""

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount, Route

from keygauge.http import route


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
        self.before = route.before(scope, self.app)
        await self.app(scope, receive, send)
        self.after = route.template(scope)


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
        ("/nothing", "_unmatched"),
    ],
)
async def test_fastapi_template_is_whole(path, template):
    before, after = await seen(fastapi_app(), path)
    assert after == template
    assert before == template or template.startswith(before.removesuffix("/{path}"))


async def test_a_method_that_an_included_router_does_not_have_is_unmatched():
    before, _ = await seen(fastapi_app(), "/api/v1/items/7", method="DELETE")
    assert before == "_unmatched"


async def test_starlette_template_is_known_before_the_call():
    async def handler(scope, receive, send): ...

    app = Starlette(routes=[Mount("/m", routes=[Route("/x/{y}", handler)]), Route("/a/{b}", handler)])
    middleware = Seen(app)
    scope = {"type": "http", "method": "GET", "path": "/a/1", "root_path": "", "headers": []}
    assert route.before(scope, middleware.app) == "/a/{b}"
    assert route.before({**scope, "path": "/none"}, middleware.app) == "_unmatched"


def test_other_frameworks_are_unmatched_before_the_call():
    assert route.before({"type": "http", "path": "/"}, object()) == "_unmatched"
