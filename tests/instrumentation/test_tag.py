"""Tags: where the end user of a call is read, and which values are accepted."""

import asyncio
import json
from base64 import urlsafe_b64encode
from collections import Counter
from wsgiref.util import setup_testing_defaults

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from keygauge import current
from keygauge.settings.settings import Settings, SettingsError
from keygauge.tag import LENGTH_MAX, OTHER, TagError, TagSource, check

GOOD = [
    "alice",
    "a,b",
    "O'Brien; DROP TABLE event;--",
    "ann@example.com",
    "Zoë 日本",
    "x" * LENGTH_MAX,
    '"quoted"',
    "*",
]
BAD = [
    "",
    " alice",
    "a\nb",
    "a\0b",
    "\ud800",
    "\u202eevil",
    "x" * (LENGTH_MAX + 1),
    OTHER,
    "kg_live_abc",
    7,
    None,
    b"a",
]
KEY = f"kg_live_{'a' * 12}_{'b' * 38}".encode()


def jwt(claims, *, padded=False):
    text = json.dumps(claims) if not isinstance(claims, bytes) else claims.decode("latin-1")
    body = urlsafe_b64encode(text.encode())
    return b"eyJhbGciOiJSUzI1NiJ9." + (body if padded else body.rstrip(b"=")) + b".c2ln"


def read(source, value):
    """Return the tag, or the reason for its rejection."""
    try:
        return source.find(value.decode("latin-1"))
    except TagError as error:
        return error.fault


@pytest.mark.parametrize("tag", GOOD)
def test_printable_tag_is_unchanged(tag):
    assert check(tag) == tag


@pytest.mark.parametrize("tag", BAD, ids=repr)
def test_harmful_tag_is_rejected(tag):
    with pytest.raises(TagError):
        check(tag)


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("header:X-End-User", TagSource("x-end-user")),
        ("claim:sub", TagSource("authorization", "sub")),
        (
            "claim:https://acme.com/user@Cf-Access-Jwt-Assertion",
            TagSource("cf-access-jwt-assertion", "https://acme.com/user"),
        ),
    ],
)
def test_sources_are_parsed(text, source):
    assert TagSource.parse(text) == source


@pytest.mark.parametrize(
    "text",
    [
        "",
        "X-End-User",
        "header:",
        "header:a b",
        "header:Authorization",
        "header:Cookie",
        "claim:",
        "claim:a b",
        "body:x",
    ],
)
def test_invalid_or_secret_source_is_rejected(text):
    with pytest.raises(SettingsError, match="KEYGAUGE_TAG"):
        Settings(mode="observe", spool_dir="spool", tag=text)


def test_credential_header_is_rejected_as_source():
    with pytest.raises(SettingsError, match="KEYGAUGE_TAG"):
        Settings(mode="observe", spool_dir="spool", tag="header:X-Key", credential_header="x-key")


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (b"", None),
        (b" alice ", "alice"),
        ("Zoë".encode(), "Zoë"),
        ("Zoë".encode("latin-1"), "Zoë"),
        (b"x" * 10_000, "too_long"),
        (b"a\x00b", "bad_text"),
        (KEY, "bad_text"),
        (b"Bearer " + KEY, "bad_text"),
        (b"alice:" + KEY[:40], "bad_text"),
    ],
)
def test_end_user_is_read_from_a_header(value, found):
    assert read(TagSource("x-end-user"), value) == found


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (b"Bearer " + jwt({"sub": "alice"}), "alice"),
        (b"bearer " + jwt({"sub": "alice"}, padded=True), "alice"),
        (jwt({"sub": 42}), "42"),
        (jwt({"iss": "x"}), None),
        (jwt({"sub": None}), None),
        (b"Bearer " + KEY, None),
        (b"Basic YWxpY2U6cHc=", None),
        (jwt({"sub": ["alice"]}), "bad_text"),
        (jwt({"sub": True}), "bad_text"),
        (jwt({"sub": "x" * 200}), "too_long"),
        (jwt({"sub": "x" * 20_000}), "bad_token"),
        (jwt(b"[1]"), "bad_token"),
        (jwt(b"[" * 5_000), "bad_token"),
        (b"a.!!!.c", "bad_token"),
        (b"..", "bad_token"),
    ],
)
def test_end_user_is_read_from_a_claim(value, found):
    assert read(TagSource.parse("claim:sub"), value) == found


async def hello(request):
    if "app" in request.query_params:
        current().tag = request.query_params["app"]
    return PlainTextResponse(str(current().tag))


HOST = Starlette(routes=[Route("/hello", hello)])


def wsgi_host(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(current().tag).encode()]


async def test_ledger_has_the_end_user_of_a_call(service, guard, visit):
    _, token = service.key()
    app = guard(HOST, tag="header:X-End-User")
    assert (await visit(app, token)).text == "None"  # starts the process's aggregator
    before = Counter(app._process.runtime.aggregator.tag_drops())
    sent = ["alice", "O'Brien; DROP TABLE event;--", "a,b", "x" * 500]
    for tag in sent:
        await visit(app, token, headers={"x-end-user": tag})
    assert (await visit(app, token, headers=[("x-end-user", "a"), ("x-end-user", "b")])).text == "a, b"
    events = await asyncio.to_thread(service.events, 6)
    assert [event["tag"] for event in events] == [None, *sent[:3], None, "a, b"]
    assert Counter(app._process.runtime.aggregator.tag_drops()) - before == {"too_long": 1}


async def test_claim_in_addition_to_the_key_names_the_end_user(service, guard, visit):
    _, token = service.key()
    app = guard(HOST, tag="claim:sub")
    headers = {"authorization": b"Bearer " + jwt({"sub": "alice"}), "x-api-key": token}
    assert (await visit(app, headers=headers)).text == "alice"
    assert (await visit(app, token)).text == "None"
    assert [event["tag"] for event in await asyncio.to_thread(service.events, 2)] == ["alice", None]


async def test_app_can_set_the_end_user_and_an_invalid_one_loses_only_the_tag(service, guard, visit):
    _, token = service.key()
    app = guard(HOST)  # without a source, an app can still set one
    for tag in ("bob", "x" * 129, "a\x00b"):
        assert (await visit(app, token, "/hello", params={"app": tag})).status_code == 200
    events = await asyncio.to_thread(service.events, 3)
    assert [(event["tag"], event["status"]) for event in events] == [("bob", 200), (None, 200), (None, 200)]


def test_wsgi_reads_tags_the_same_way(service, guard_wsgi, visit_wsgi):
    _, token = service.key()
    app = guard_wsgi(wsgi_host, tag="header:X-End-User")
    assert visit_wsgi(app, token, headers={"x-end-user": "alice"}).text == "alice"
    environ = {"HTTP_AUTHORIZATION": f"Bearer {token}", "HTTP_X_END_USER": "Zoë".encode().decode("latin-1")}
    setup_testing_defaults(environ)
    assert list(app(environ, lambda *_: None)) == ["Zoë".encode()]
    assert visit_wsgi(app, token, headers={"x-end-user": "x" * 500}).text == "None"
    assert visit_wsgi(app, token).text == "None"
    assert [event["tag"] for event in service.events(4)] == ["alice", "Zoë", None, None]
