"""Zero-code instrumentation: every app of a framework is metered once, until it is uninstrumented."""

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import falcon
import falcon.asgi
import pytest
from fastapi import FastAPI
from flask import Flask
from litestar import Litestar, get
from litestar.params import FromPath
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from keygauge import instrumentor as module
from keygauge import wsgi
from keygauge.asgi import KeyGaugeMiddleware
from keygauge.instrumentor import KeyGaugeInstrumentor

SERVICE_TOKEN = "test-service-token-0123456789"
RPM = {"name": "rpm", "unit": "request", "amount": 2, "window_s": 60}


@pytest.fixture
def environment(service, tmp_path, monkeypatch):
    service.down()
    service.app = service.app.wsgi_app  # in this process, it would be instrumented as a Flask app too
    service.up()
    monkeypatch.setenv("KEYGAUGE_SERVICE_URL", service.url)
    monkeypatch.setenv("KEYGAUGE_SERVICE_TOKEN", SERVICE_TOKEN)
    monkeypatch.setenv("KEYGAUGE_SPOOL_DIR", str(tmp_path / "spool"))
    monkeypatch.setenv("KEYGAUGE_WAIT_S", "5")


@pytest.fixture
def instrumented(environment):
    instrumentor = KeyGaugeInstrumentor()
    instrumentor.instrument(skip_dep_check=True)
    apps = []
    yield apps.append
    instrumentor.uninstrument()
    for app in apps:
        module._find(app)._process.stop()


async def item(request):
    return JSONResponse({})


def make_fastapi():
    app = FastAPI()
    app.get("/items/{n}")(lambda n: {})
    return app


@pytest.mark.parametrize("make", [make_fastapi, lambda: Starlette(routes=[Route("/items/{n}", item)])])
async def test_asgi_app_is_metered_and_guarded(service, instrumented, visit, make):
    app = make()
    instrumented(app)
    _, token = service.key(RPM)
    assert [(await visit(app, token, "/items/1")).status_code for _ in range(3)] == [200, 200, 429]
    assert [event["route"] for event in service.events(3)] == ["/items/{n}"] * 3


@pytest.mark.parametrize("make", [FastAPI, Starlette])
async def test_open_paths_of_asgi_apps_and_of_those_mounted_in_them_need_no_key(instrumented, visit, make):
    app = make(routes=[Route("/healthz", item), Mount("/metrics", Starlette(routes=[Route("/{path:path}", item)]))])
    instrumented(app)
    statuses = [(await visit(app, None, path)).status_code for path in ("/healthz", "/metrics/", "/other")]
    assert statuses == [200, 200, 401]


async def test_middleware_in_code_decides_on_paths_that_zero_code_leaves_open(instrumented, visit, monkeypatch):
    monkeypatch.setenv("KEYGAUGE_OPEN_PATHS", "/metrics/")
    inner = KeyGaugeMiddleware(Starlette(routes=[Route("/", item)]), open_paths=())
    app = Starlette(routes=[Mount("/metrics", inner)])
    instrumented(app)
    assert (await visit(app, None, "/metrics/")).status_code == 401
    inner._process.stop()


def test_open_paths_of_wsgi_apps_and_of_those_mounted_in_them_need_no_key(instrumented, visit_wsgi):
    app, mounted = Flask("host"), Flask("mounted")
    app.add_url_rule("/healthz", "health", dict)
    mounted.add_url_rule("/", "metrics", dict)
    app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/metrics": mounted})
    instrumented(app)
    statuses = [visit_wsgi(app, None, path).status_code for path in ("/healthz", "/metrics/", "/other")]
    assert statuses == [200, 200, 401]


def test_wsgi_app_is_metered_and_guarded(service, instrumented, visit_wsgi):
    app = Flask("host")
    app.add_url_rule("/items/<n>", "item", lambda n: {})
    instrumented(app)
    _, token = service.key(RPM)
    assert [visit_wsgi(app, token, "/items/1").status_code for _ in range(3)] == [200, 200, 429]
    assert [event["route"] for event in service.events(3)] == ["/items/<n>"] * 3


class FalconItem:
    def on_get(self, request, response, n):
        response.media = {}


class FalconAsyncItem:
    async def on_get(self, request, response, n):
        response.media = {}


def make_falcon(app, resource):
    app.add_route("/items/{n}", resource)
    return app


@get("/items/{n:int}")
async def litestar_item(n: FromPath[int]) -> dict:
    return {}


@pytest.mark.parametrize(
    "make",
    [lambda: make_falcon(falcon.asgi.App(), FalconAsyncItem()), lambda: Litestar([litestar_item], logging_config=None)],
)
async def test_asgi_app_with_slots_is_metered_too(service, instrumented, visit, make):
    app = make()
    instrumented(app)
    _, token = service.key(RPM)
    assert [(await visit(app, token, "/items/1")).status_code for _ in range(3)] == [200, 200, 429]


def test_wsgi_app_with_slots_is_metered_too(service, instrumented, visit_wsgi):
    app = make_falcon(falcon.App(), FalconItem())
    instrumented(app)
    _, token = service.key(RPM)
    assert [visit_wsgi(app, token, "/items/1").status_code for _ in range(3)] == [200, 200, 429]


def test_first_requests_of_many_threads_share_one_middleware(service, instrumented, visit_wsgi, monkeypatch):
    made = []

    class Slow(wsgi.KeyGaugeMiddleware):
        def __init__(self, app, **options):
            made.append(self)
            time.sleep(0.1)  # the other requests arrive meanwhile
            super().__init__(app, **options)

    monkeypatch.setattr(wsgi, "KeyGaugeMiddleware", Slow)
    app = Flask("host")
    app.add_url_rule("/items/<n>", "item", lambda n: {})
    instrumented(app)
    _, token = service.key()
    start = Barrier(4)

    def visit(_):
        start.wait()
        return visit_wsgi(app, token, "/items/1").status_code

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(visit, range(4))) == [200] * 4
    assert len(made) == 1
    assert len(service.events(4)) == 4


async def test_mounted_and_wrapped_apps_count_once(service, instrumented, guard, visit):
    _, token = service.key(RPM)
    outer = guard(Starlette(routes=[Mount("/sub", make_fastapi())]))
    assert [(await visit(outer, token, "/sub/items/1")).status_code for _ in range(3)] == [200, 200, 429]
    events = service.events(3)
    assert [event["route"] for event in events[:2]] == ["/sub/items/{n}"] * 2
    assert len(events) == 3


async def test_uninstrument_restores_the_frameworks(environment, visit):
    before = FastAPI.__call__, Starlette.__call__, Flask.__call__
    KeyGaugeInstrumentor().instrument(skip_dep_check=True)
    assert FastAPI.__call__ is not before[0]
    KeyGaugeInstrumentor().uninstrument()
    assert (FastAPI.__call__, Starlette.__call__, Flask.__call__) == before
    assert (await visit(make_fastapi(), path="/items/1")).status_code == 200


async def test_nothing_happens_unless_configured(monkeypatch, visit):
    monkeypatch.delenv("KEYGAUGE_SERVICE_URL", raising=False)
    monkeypatch.delenv("KEYGAUGE_MODE", raising=False)
    KeyGaugeInstrumentor().instrument(skip_dep_check=True)
    try:
        assert (await visit(make_fastapi(), path="/items/1")).status_code == 200
    finally:
        KeyGaugeInstrumentor().uninstrument()


async def test_middleware_added_by_hand_counts_once(service, instrumented, visit, monkeypatch):
    app = make_fastapi()
    app.add_middleware(KeyGaugeMiddleware)
    instrumented(app)
    _, token = service.key(RPM)
    assert [(await visit(app, token, "/items/1")).status_code for _ in range(3)] == [200, 200, 429]
    assert len(service.events(3)) == 3
