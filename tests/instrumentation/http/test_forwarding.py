"""The client's address is the one trusted proxies report; servers that rewrite it cause one warning with a solution."""

import logging

import pytest
from hypercorn.app_wrappers import WSGIWrapper
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from uvicorn import Config
from uvicorn.lifespan.on import LifespanOn

from keygauge.http import forwarding
from keygauge.http.forwarding import client_ip
from keygauge.networks import parse_networks


@pytest.mark.parametrize(
    ("options", "trusted", "is_told"),
    [
        ({}, [], True),
        ({"forwarded_allow_ips": "*"}, ["127.0.0.1"], True),
        ({"forwarded_allow_ips": ["10.0.0.1"]}, ["10.0.0.1", "10.0.0.2"], False),
        ({"forwarded_allow_ips": "127.0.0.1"}, ["127.0.0.1"], False),
        ({"proxy_headers": False}, [], False),
        ({"forwarded_allow_ips": ""}, [], False),  # as gunicorn's --forwarded-allow-ips '' and FORWARDED_ALLOW_IPS=''
    ],
)
async def test_warning_if_uvicorn_trusts_other_proxies(guard, caplog, options, trusted, is_told):
    config = Config(guard(Starlette(), trusted_proxies=trusted), lifespan="on", **options)
    config.load()
    life = LifespanOn(config)
    with caplog.at_level(logging.WARNING, "keygauge"):
        await life.startup()
    await life.shutdown()
    assert ("--no-proxy-headers (under gunicorn: --forwarded-allow-ips '')" in caplog.text) is is_told


def test_warning_about_servers_that_confuse_header_names(caplog):
    def start_response(*_):
        raise AssertionError

    forwarding.warn_of_underscores({"SERVER_SOFTWARE": "gunicorn/27"}, start_response)
    assert not caplog.records
    forwarding.warn_of_underscores({"SERVER_SOFTWARE": "Granian"}, start_response)
    assert "granian takes X_Forwarded_For" in caplog.text
    wrapper = WSGIWrapper(PlainTextResponse, 1)
    forwarding.warn_of_underscores({}, wrapper.run_app)
    assert "hypercorn takes X_Forwarded_For" in caplog.text


def test_environment_is_examined(monkeypatch):
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    found = list(forwarding.examine(["10.0.0.0/8"]))
    assert [is_good for is_good, _ in found] == [False, True, True, True, True]
    assert "every client may claim any address" in found[0][1]
    assert "--no-clear-untrusted-proxy-headers" in found[2][1]


TRUSTED = parse_networks(["10.0.0.0/8", "2001:db8::/32"])
IPS = st.ip_addresses(v=4, network="192.0.2.0/24").map(str)


@given(IPS, st.text())
def test_peer_that_is_not_a_proxy_is_the_client_with_any_header(peer, claim):
    assert client_ip(peer, claim, TRUSTED) == client_ip(peer, claim, ()) == peer


@given(IPS, st.lists(IPS, max_size=3), st.integers(0, 3))
def test_last_address_that_is_not_a_proxys_is_the_client(client, invented, proxies):
    chain = ", ".join([*invented, client, *["10.0.0.9"] * proxies])
    assert client_ip("10.0.0.1", chain, TRUSTED) == client


def test_without_a_header_the_proxy_itself_is_the_client():
    for nothing in ("", " , ,", "10.0.0.2, 10.0.0.3"):
        assert client_ip("10.0.0.1", nothing, TRUSTED) in {"10.0.0.1", "10.0.0.2"}
    assert client_ip(None, "192.0.2.1", TRUSTED) is None


def test_ports_added_by_proxies_are_dropped():
    told = {"192.0.2.1:4711": "192.0.2.1", "[2001:db9::1]:4711": "2001:db9::1", "2001:db9::1": "2001:db9::1", "[x": "x"}
    assert {named: client_ip("10.0.0.1", named, TRUSTED) for named in told} == told


def test_proxy_named_with_a_port_or_as_ipv6_is_recognized():
    assert client_ip("::ffff:10.0.0.1", "192.0.2.1, [2001:db8::1]:80, 10.0.0.9:1", TRUSTED) == "192.0.2.1"
