"""The common part of both middlewares: their options, and the handling of an arriving request."""

import asyncio
from inspect import Parameter, signature

import pytest

from keygauge import asgi, wsgi
from keygauge.settings.settings import SettingsError

BOTH = pytest.mark.parametrize("make", [asgi.KeyGaugeMiddleware, wsgi.KeyGaugeMiddleware])


@pytest.fixture
def serve(tmp_path):
    """Return a function that serves one request, without an answer, by a new middleware and returns its call."""
    made = []

    def serve(make, *, peer=None, forwarded=None, **options):
        made.append(
            make(answer_nothing if make is asgi.KeyGaugeMiddleware else (lambda *_: []), spool_dir=tmp_path, **options)
        )
        if make is wsgi.KeyGaugeMiddleware:
            environ = {"REQUEST_METHOD": "GET", "REMOTE_ADDR": peer, "HTTP_X_FORWARDED_FOR": forwarded or ""}
            made[-1](environ, lambda *_: None)
            return environ["keygauge.call"]
        headers = [(b"x-forwarded-for", part.encode()) for part in (forwarded or "").split(", ") if part]
        scope = {"type": "http", "path": "/", "headers": headers, "client": (peer, 1)}
        asyncio.run(made[-1](scope, None, None))
        return scope["keygauge"]

    yield serve
    for middleware in made:
        middleware._process.stop()


async def answer_nothing(scope, receive, send):
    return


def test_options_are_the_same_and_keyword_only():
    (of_asgi, of_wsgi) = (signature(make).parameters for make in (asgi.KeyGaugeMiddleware, wsgi.KeyGaugeMiddleware))
    assert of_asgi == of_wsgi
    app, *options = of_asgi.values()
    assert app.name == "app"
    assert {option.kind for option in options} == {Parameter.KEYWORD_ONLY}


@BOTH
@pytest.mark.parametrize("wrong", [{"mode": "enforce", "identify": lambda _: "x"}, {"mode": "none"}])
def test_wrong_settings_raise_if_no_server_is_running_yet(make, tmp_path, wrong):
    with pytest.raises(SettingsError):
        make(None, service_url="http://127.0.0.1:9", service_token="x" * 32, spool_dir=tmp_path, **wrong)


@BOTH
@pytest.mark.parametrize(
    ("trusted", "ip"),
    [([], "192.0.2.1"), (["192.0.2.0/24"], "203.0.113.5"), (["192.0.2.1", "203.0.113.5"], "198.51.100.7")],
)
def test_client_address_comes_from_trusted_proxies(serve, make, trusted, ip):
    told = {"peer": "192.0.2.1", "forwarded": "198.51.100.7, 203.0.113.5"}
    assert serve(make, mode="observe", trusted_proxies=trusted, **told).ip == ip


@BOTH
def test_own_keys_are_counted_by_id_and_a_failing_identify_loses_only_the_id(serve, make):
    assert serve(make, mode="observe", identify=lambda _: "bob").key == "bob"
    assert serve(make, mode="observe", identify=lambda _: 1 / 0).key == "anonymous"
