"""The middleware around every framework: correct routes, statuses, usage and errors in the ledger."""

import asyncio
import io
from contextlib import suppress
from wsgiref.util import setup_testing_defaults

import falcon.asgi
import pytest
from hosts import ENDLESS, HOSTS, mount


@pytest.fixture(params=HOSTS)
def host(request):
    return HOSTS[request.param]()


@pytest.fixture
def drive(guard, guard_wsgi):
    """Return a function that sends GET requests in sequence and returns their statuses; `leave`: after one chunk."""

    def drive(app, token, *paths, is_asgi, leave=False):
        if is_asgi:
            guarded = guard(app)
            return asyncio.run(drive_asgi(guarded, token, paths, leave=leave))
        guarded = guard_wsgi(app)
        return [get_wsgi(guarded, token, path, leave=leave) for path in paths]

    return drive


async def drive_asgi(app, token, paths, *, leave):
    return [await get_asgi(app, token, path, leave=leave) for path in paths]


async def get_asgi(app, token, path, *, leave):
    statuses = []
    left = asyncio.Event()
    requests = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive():
        if requests:
            return requests.pop()
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        if message["type"] == "http.response.start":
            statuses.append(message["status"])
        elif (leave and message.get("body")) or not message.get("more_body"):
            left.set()

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"api"), (b"authorization", f"Bearer {token}".encode())],
        "client": ("192.0.2.1", 5000),
        "server": ("api", 80),
        "state": {},
    }
    with suppress(LookupError, asyncio.CancelledError):  # servers log such exceptions
        await app(scope, receive, send)
    return statuses[0]


def get_wsgi(app, token, path, *, leave):
    statuses = []
    environ = {
        "PATH_INFO": path,
        "HTTP_AUTHORIZATION": f"Bearer {token}",
        "REMOTE_ADDR": "192.0.2.1",
        "wsgi.input": io.BytesIO(),
    }
    setup_testing_defaults(environ)
    answer = app(environ, lambda status, headers, exc_info=None: statuses.append(int(status[:3])))
    try:
        for chunk in answer:
            if leave and chunk:
                break
    finally:
        if hasattr(answer, "close"):
            answer.close()
    return statuses[0]


def seen(event):
    return (event["route"], event["status"], event["error"], event["stream"], event["usage_status"])


def test_json_answers_are_counted_with_route_and_usage(service, drive, host):
    made, token = service.key()
    assert drive(host.app, token, "/items/1", "/items/2", is_asgi=host.is_asgi) == [200, 200]
    events = service.events(2)
    assert [seen(event) for event in events] == [(host.item, 200, None, None, "reported")] * 2
    assert {(event["key_id"], event["input_tokens"], event["output_tokens"]) for event in events} == {(made.id, 11, 7)}
    assert {(event["model"], event["ip"]) for event in events} == {("gpt-4o-mini", "192.0.2.1")}


def test_stream_is_counted_with_usage(service, drive, host):
    _, token = service.key()
    assert drive(host.app, token, "/stream", is_asgi=host.is_asgi) == [200]
    (event,) = service.events(1)
    assert seen(event) == ("/stream", 200, None, "sse", "reported")
    assert (event["input_tokens"], event["output_tokens"], event["messages"]) == (11, 7, 3)


def test_client_disconnect_is_settled(service, drive, host):
    _, token = service.key()
    assert drive(host.app, token, "/endless", is_asgi=host.is_asgi, leave=True) == [200]
    (event,) = service.events(1)
    assert (event["route"], event["status"], event["stream"]) == ("/endless", 200, "sse")
    assert event["error"] in {"client_disconnected", "CancelledError"}
    assert 0 < event["messages"] < ENDLESS


def test_exception_is_a_500(service, drive, host):
    _, token = service.key()
    assert drive(host.app, token, "/fail", is_asgi=host.is_asgi) == [500]
    (event,) = service.events(1)
    assert seen(event)[:3] == ("/fail", 500, "500")


def test_unmatched_paths_are_one_route(service, drive, host):
    _, token = service.key()
    assert drive(host.app, token, "/nothing", "/items/x/y", is_asgi=host.is_asgi) == [404, 404]
    assert {(event["route"], event["status"]) for event in service.events(2)} == {("_unmatched", 404)}


def test_prefixes_are_part_of_the_route(service, drive, host):
    _, token = service.key()
    assert drive(host.app, token, "/sub/acme/items/1", is_asgi=host.is_asgi) == [200]
    (event,) = service.events(1)
    assert seen(event) == (host.sub_item, 200, None, None, "reported")


def test_mounted_app_has_the_full_route(service, drive, host):
    if isinstance(host.app, falcon.asgi.App):
        pytest.skip("Falcon knows no root_path: its routes do not begin below a mount")
    _, token = service.key()
    assert drive(mount(host), token, "/mnt/items/1", is_asgi=host.is_asgi) == [200]
    (event,) = service.events(1)
    assert seen(event) == (f"/mnt{host.item}", 200, None, None, "reported")


def test_refused_call_has_its_requested_route(service, drive, host):
    _, token = service.key({"name": "rpm", "unit": "request", "amount": 1, "window_s": 60})
    assert drive(host.app, token, "/items/1", "/items/2", is_asgi=host.is_asgi) == [200, 429]
    assert [event["route"] for event in service.events(2)] == [host.item, host.item]
