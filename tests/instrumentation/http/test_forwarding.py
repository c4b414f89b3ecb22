"""Servers that rewrite the client's address are told of, once, with the way out."""

import logging

import pytest
from hypercorn.app_wrappers import WSGIWrapper
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from uvicorn import Config
from uvicorn.lifespan.on import LifespanOn

from keygauge.http import forwarding


@pytest.mark.parametrize(
    ("options", "trusted", "is_told"),
    [
        ({}, [], True),
        ({"forwarded_allow_ips": "*"}, ["127.0.0.1"], True),
        ({"forwarded_allow_ips": ["10.0.0.1"]}, ["10.0.0.1", "10.0.0.2"], False),
        ({"forwarded_allow_ips": "127.0.0.1"}, ["127.0.0.1"], False),
        ({"proxy_headers": False}, [], False),
    ],
)
async def test_uvicorn_is_told_of_where_it_believes_others(guard, caplog, options, trusted, is_told):
    config = Config(guard(Starlette(), trusted_proxies=trusted), lifespan="on", **options)
    config.load()
    life = LifespanOn(config)
    with caplog.at_level(logging.WARNING, "keygauge"):
        await life.startup()
    await life.shutdown()
    assert ("--no-proxy-headers" in caplog.text) is is_told


def test_servers_that_confuse_names_are_told_of(caplog):
    def start_response(*_):
        raise AssertionError

    forwarding.warn_of_underscores({"SERVER_SOFTWARE": "gunicorn/27"}, start_response)
    assert not caplog.records
    forwarding.warn_of_underscores({"SERVER_SOFTWARE": "Granian"}, start_response)
    assert "granian takes X_Forwarded_For" in caplog.text
    wrapper = WSGIWrapper(PlainTextResponse, 1)
    forwarding.warn_of_underscores({}, wrapper.run_app)
    assert "hypercorn takes X_Forwarded_For" in caplog.text


def test_the_environment_is_examined(monkeypatch):
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    found = list(forwarding.examine(["10.0.0.0/8"]))
    assert [is_good for is_good, _ in found] == [False, True, True, True, True]
    assert "every client may claim any address" in found[0][1]
    assert "--no-clear-untrusted-proxy-headers" in found[2][1]
