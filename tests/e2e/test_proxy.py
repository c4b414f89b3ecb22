"""`keygauge proxy` in front of an upstream over HTTP."""

import socket
from collections import Counter

import httpx
import pytest
from ports import free_port
from serving import terminate
from wire import talk

from keygauge.cli import main
from keygauge_keyservice.limits.definitions import Limit

UPSTREAM = '''
import asyncio
import json

CHUNK = {"object": "chat.completion.chunk", "model": "llama3", "choices": []}
USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
left = []


async def app(scope, receive, send):
    """An upstream that tells what it was sent, or does as the path says."""
    if scope["type"] == "websocket":
        await session(receive, send)
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    path = scope["path"]
    if path == "/base/v1/chat/completions":
        await stream(send)
    elif path == "/base/endless":
        await endless(receive, send)
    elif path == "/base/left":
        await answer(send, json.dumps(left).encode())
    else:
        told = {
            "method": scope["method"],
            "target": (scope["raw_path"] + b"?" + scope["query_string"]).decode(),
            "headers": {name.decode(): value.decode() for name, value in scope["headers"]},
            "body": body.decode(),
        }
        await answer(send, json.dumps(told).encode(), status=418 if path.endswith("/teapot") else 200)


async def session(receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    if (await receive())["type"] == "websocket.receive":
        usage = {"input_tokens": 11, "output_tokens": 7, "total_tokens": 18}
        done = {"type": "response.done", "response": {"object": "realtime.response", "usage": usage}}
        await send({"type": "websocket.send", "text": json.dumps(done)})
        await receive()


async def answer(send, body, *, status=200):
    headers = [(b"content-type", b"application/json"), (b"x-own", b"1"), (b"connection", b"x-hop"), (b"x-hop", b"1")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def stream(send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    for data in (json.dumps(CHUNK), json.dumps({**CHUNK, "usage": USAGE}), "[DONE]"):
        await send({"type": "http.response.body", "body": b"data: " + data.encode() + b"\\n\\n", "more_body": True})
    await send({"type": "http.response.body"})


async def endless(receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    leaving = asyncio.ensure_future(receive())
    while not leaving.done():
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        await asyncio.sleep(0.01)
    left.append((await leaving)["type"])
'''
LIMIT = Limit(name="rpm", unit="request", amount=100_000, window_s=60)


@pytest.fixture
def proxied(key_service, servers, tmp_path):
    """Serve the upstream behind the proxy; yield the key and a client with its token."""
    (tmp_path / "upstream.py").write_text(UPSTREAM)
    behind = free_port()
    servers.start(["uvicorn", "upstream:app", "--port", "{port}"], {}, key_service, port=behind)
    port = free_port()
    command = [
        "keygauge",
        "proxy",
        f"http://127.0.0.1:{behind}/base",
        "--port",
        "{port}",
        "--route",
        "/v1/files/{{id}}",
        "--cors",
    ]
    process = servers.start(
        command, {}, key_service, port=port, KEYGAUGE_UPSTREAM_AUTHORIZATION="Bearer of-the-upstream"
    )
    key, token = key_service.create_key(LIMIT)
    with httpx.Client(
        base_url=f"http://127.0.0.1:{port}", headers={"authorization": f"Bearer {token}"}, timeout=60
    ) as client:
        yield key, client, process, token


def test_requests_are_forwarded_without_the_key(proxied):
    _, client, _, token = proxied
    told = client.put(
        "/a%20b/%C3%A4?x=1&y=%2F", content=b"hello", headers={"x-mine": "1", "connection": "x-gone", "x-gone": "1"}
    )
    document = told.json()
    assert (document["method"], document["target"], document["body"]) == (
        "PUT",
        "/base/a%20b/%C3%A4?x=1&y=%2F",
        "hello",
    )
    headers = document["headers"]
    assert (headers["x-mine"], headers["authorization"]) == ("1", "Bearer of-the-upstream")
    assert headers["x-forwarded-for"] == "127.0.0.1"
    assert "x-gone" not in headers
    assert token not in told.text
    assert (told.headers["x-own"], "x-hop" in told.headers) == ("1", False)
    chunked = client.post("/up", content=iter([b"a", b"b"])).json()
    assert (chunked["body"], chunked["headers"].get("content-length")) == ("ab", None)
    assert client.get("/teapot").status_code == 418


def test_calls_are_authorized_and_metered(proxied, key_service, eventually):
    key, client, process, _ = proxied
    assert client.get("/v1/models", headers={"authorization": ""}).status_code == 401
    with client.stream("POST", "/v1/chat/completions", json={"model": "llama3"}) as answer:
        assert b"[DONE]" in answer.read()
    client.get("/v1/files/7")
    client.get("/odd")
    eventually(lambda: len(key_service.ledger(key.id)), 3)
    events = key_service.ledger(key.id, "route, model, input_tokens, output_tokens")
    assert Counter(events) == {
        ("/v1/chat/completions", "llama3", 11, 7): 1,
        ("/v1/files/{id}", None, None, None): 1,
        ("/{path}", None, None, None): 1,
    }
    terminate(process)


def test_websockets_are_authorized_and_metered(proxied, key_service, eventually):
    key, client, _, token = proxied
    path, message = "/v1/realtime?model=llama3", '{"type": "response.create"}'
    assert talk(client.base_url.port, path, [message])[0] == ("rejected", 401)
    told = talk(client.base_url.port, path, [message], headers=[(b"authorization", f"Bearer {token}".encode())])
    assert [event[0] for event in told] == ["accepted", "message", "closed"]
    columns = "route, status, model, input_tokens, output_tokens"
    eventually(lambda: key_service.ledger(key.id, columns), [("/v1/realtime", 101, "llama3", 11, 7)])


def test_preflights_reach_the_upstream_without_a_key_and_are_not_metered(proxied, key_service, eventually):
    key, client, _, _ = proxied
    client.headers.pop("authorization")
    preflight = {"origin": "https://app.example", "access-control-request-method": "POST"}
    told = client.options("/v1/models", headers=preflight)
    assert (told.status_code, told.json()["method"]) == (200, "OPTIONS")
    assert client.options("/v1/models", headers={"origin": "https://app.example"}).status_code == 401
    assert client.request("OPTIONS", "/v1/models", headers=preflight, content=b"x").status_code == 401
    refused = client.post("/v1/models", headers={"origin": "https://app.example"})
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, "*")
    assert key_service.ledger(key.id) == []


def test_client_disconnects_end_the_upstream_call(proxied, eventually):
    _, client, _, _ = proxied
    with client.stream("GET", "/endless") as answer:
        next(answer.iter_raw())
    eventually(lambda: client.get("/left").json(), ["http.disconnect"])


def test_unreachable_upstream_is_reported(key_service, servers):
    port = free_port()
    with socket.create_server(("127.0.0.1", 0)) as gone:
        behind = gone.getsockname()[1]
    servers.start(["keygauge", "proxy", f"http://127.0.0.1:{behind}", "--port", "{port}"], {}, key_service, port=port)
    _, token = key_service.create_key(LIMIT)
    answer = httpx.get(f"http://127.0.0.1:{port}/x", headers={"authorization": f"Bearer {token}"}, timeout=60)
    assert (answer.status_code, answer.json()["code"]) == (502, "upstream_unreachable")


@pytest.mark.parametrize(
    "wrong", ["ftp://x", "localhost:11434", "http://", "http://x/?a=b", "http://x:65536", "http://["]
)
def test_invalid_upstream_url_is_refused(wrong, capsys):
    assert main(["proxy", wrong]) == 2
    assert "is not a server address" in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong", [["--route", "nope"], ["--route", "/a/{x:odd}"], ["--port", "0"], ["--port", "65536"]]
)
def test_invalid_options_are_refused(wrong, capsys):
    assert main(["proxy", "http://127.0.0.1:1", *wrong]) == 2
    assert f"Invalid value for '{wrong[0]}'" in capsys.readouterr().err
