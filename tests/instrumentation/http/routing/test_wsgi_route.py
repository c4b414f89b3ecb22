import pytest
from flask import Flask, request
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.test import create_environ

from keygauge.call import UNMATCHED, OpenRoute
from keygauge.http.routing import wsgi_route


@pytest.fixture
def flask():
    app = Flask("inner")
    app.add_url_rule("/items/<int:n>", "item", str)
    return app


def template(app, path, method="GET"):
    return wsgi_route.follow(create_environ(path, method=method), app).template


def test_route_is_the_template_and_never_the_path(flask):
    told = [template(flask, path) for path in ("/items/5", "/items/x", "/nothing", "/items/5/")]
    assert told == ["/items/<int:n>", UNMATCHED, UNMATCHED, UNMATCHED]
    assert template(flask, "/items/5", "DELETE") == UNMATCHED


def test_mounts_are_followed_by_the_longest_prefix_of_whole_segments(flask):
    app = ProxyFix(DispatcherMiddleware(Flask("outer"), {"/a": Flask("a"), "/a/b": flask}))
    told = [template(app, path) for path in ("/a/b/items/5", "/a/items/5", "/a/bc/items/5", "/items/5")]
    assert told == ["/a/b/items/<int:n>", UNMATCHED, UNMATCHED, UNMATCHED]


def plain(environ, start_response):
    start_response("200 OK", [])
    return [environ["PATH_INFO"].encode()]


class OwnRouter:
    router = ()

    def __call__(self, environ, start_response):
        return plain(environ, start_response)


def test_mounted_app_without_a_known_router_is_one_route(flask):
    inner = DispatcherMiddleware(Flask("inner"), {"/own": OwnRouter()})
    app = DispatcherMiddleware(flask, {"/plain": plain, "/own": OwnRouter(), "/in": inner})
    told = [template(app, path) for path in ("/plain/a/b", "/plain", "/own/a", "/in/own/a", "/plainer", "/in/x")]
    assert told == ["/plain/{path}", "/plain/{path}", "/own/{path}", "/in/own/{path}", UNMATCHED, UNMATCHED]
    assert [isinstance(one, OpenRoute) for one in told] == [False, False, True, True, False, False]


def test_environ_of_the_request_is_unchanged(flask):
    environ = create_environ("/a/items/5")
    before = dict(environ)
    walk = wsgi_route.follow(environ, DispatcherMiddleware(Flask("outer"), {"/a": flask}))
    assert walk.params == {"n": 5}
    assert environ == before


def test_flask_match_is_known_while_it_answers(flask):
    seen = []

    @flask.route("/seen/<name>")
    def see(name):
        seen.append(wsgi_route.noted(request.environ))
        return name

    assert flask.test_client().get("/seen/a").status_code == 200
    assert seen == ["/seen/<name>"]
    assert wsgi_route.noted(create_environ("/")) is None


def test_host_with_an_unknown_router_has_no_template():
    def app(environ, start_response):
        start_response("200 OK", [])
        return [b""]

    class Router:
        def __init__(self):
            self.inner = app
            self.mounts = {"/x": 5}

        def __call__(self, environ, start_response):
            return self.inner(environ, start_response)

    assert template(Router(), "/x/y") is None
