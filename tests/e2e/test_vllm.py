"""`vllm serve --middleware keygauge.asgi.KeyGaugeMiddleware`, with a server built like vLLM's.

vLLM itself needs a GPU or a build of torch for CPUs. This server has its order of layers (CORS, its own `--api-key`,
then each class of `--middleware` with `add_middleware`), its paths, and the formats of its answers.
"""

import json
from collections import Counter

import httpx
import pytest

from keygauge_keyservice.limits.definitions import Limit

SERVER = '''
import importlib
import json
import os
import re

from fastapi import FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Mount

MODEL = "meta-llama/Llama-3.1-8B-Instruct"
COMPLETIONS = ["/v1/chat/completions", "/v1/completions"]
app = FastAPI(title="model server")
for path in ("/health", "/ping"):
    app.add_api_route(path, lambda: Response(status_code=200), methods=["GET", "POST"])
app.add_api_route("/version", lambda: {"version": "0"})
app.add_api_route("/v1/models", lambda: {"object": "list", "data": [{"id": MODEL}, {"id": "my-lora"}]})


async def metrics(scope, receive, send):
    await Response("vllm:num_requests_running 0\\n")(scope, receive, send)


mount = Mount("/metrics", metrics)
mount.path_regex = re.compile("^/metrics(?P<path>.*)$")  # so that Prometheus is not redirected
app.routes.append(mount)


def usage(made):
    return {"prompt_tokens": 11, "completion_tokens": made, "total_tokens": 11 + made}


async def complete(request: Request):
    asked = await request.json()
    model, count = asked["model"], 3
    if not asked.get("stream"):
        return {"object": "chat.completion", "model": model, "choices": [], "usage": usage(count)}

    async def events():
        for made in range(1, count + 1):
            chunk = {"object": "chat.completion.chunk", "model": model}
            chunk["choices"] = [{"index": 0, "delta": {"content": "x"}}]
            if asked.get("stream_options", {}).get("continuous_usage_stats"):
                chunk["usage"] = usage(made)
            yield f"data: {json.dumps(chunk)}\\n\\n"
        last = {"object": "chat.completion.chunk", "model": model, "choices": [], "usage": usage(count)}
        yield f"data: {json.dumps(last)}\\n\\n"
        yield "data: [DONE]\\n\\n"

    return StreamingResponse(events(), media_type="text/event-stream")


for path in COMPLETIONS:
    app.add_api_route(path, complete, methods=["POST"], response_model=None)


@app.post("/v1/responses")
async def responses(request: Request):
    told = {"input_tokens": 5, "output_tokens": 4, "total_tokens": 9}
    return {"id": "resp_1", "object": "response", "status": "completed", "model": MODEL, "output": [], "usage": told}


@app.post("/tokenize")
async def tokenize(request: Request):
    return {"count": 3, "max_model_len": 8192, "tokens": [1, 2, 3]}


class Authentication:
    """The server's own check, of `--api-key`."""

    def __init__(self, app, tokens):
        self.app, self.tokens = app, tokens

    async def __call__(self, scope, receive, send):
        guards = scope["type"] == "http" and scope["method"] != "OPTIONS" and scope["path"].startswith("/v1")
        given = dict(scope.get("headers", ())).get(b"authorization", b"").decode()
        if guards and given.removeprefix("Bearer ") not in self.tokens:
            await JSONResponse({"error": "Unauthorized"}, 401)(scope, receive, send)
        else:
            await self.app(scope, receive, send)


app.add_middleware(CORSMiddleware, allow_origins=["*"], allow_methods=["*"], allow_headers=["*"])
if os.environ.get("API_KEY"):
    app.add_middleware(Authentication, tokens=[os.environ["API_KEY"]])
for name in os.environ["MIDDLEWARE"].split():
    module, _, owner = name.rpartition(".")
    app.add_middleware(getattr(importlib.import_module(module), owner))
'''
LIMIT = Limit(name="rpm", unit="request", amount=100_000, window_s=60)
MODEL = "meta-llama/Llama-3.1-8B-Instruct"


@pytest.fixture
def served(key_service, serve):
    """`served(**environ)` starts the server and returns the key, its token and a client."""
    clients = []

    def start(**environ):
        given = {"MIDDLEWARE": "keygauge.asgi.KeyGaugeMiddleware", **environ}
        port, _ = serve(["uvicorn", "server:app", "--port", "{port}"], {"server.py": SERVER}, key_service, **given)
        clients.append(httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60))
        return *key_service.create_key(LIMIT), clients[-1]

    yield start
    for client in clients:
        client.close()


def ask(client, path, token, **body):
    return client.post(path, json={"model": MODEL, **body}, headers={"authorization": f"Bearer {token}"})


def test_one_flag_adds_keys_limits_and_metering(served, key_service, eventually):
    key, token, client = served()
    assert [client.get(path).status_code for path in ("/health", "/ping", "/metrics")] == [200, 200, 200]
    assert [client.get(path).status_code for path in ("/v1/models", "/version")] == [401, 401]
    assert client.get("/v1/models", headers={"authorization": f"Bearer {token}"}).status_code == 200
    answer = ask(client, "/v1/chat/completions", token)
    assert answer.headers["x-ratelimit-limit-requests"] == "100000"
    for options in ({"include_usage": True}, {"include_usage": True, "continuous_usage_stats": True}):
        assert "[DONE]" in ask(client, "/v1/chat/completions", token, stream=True, stream_options=options).text
    ask(client, "/v1/completions", token, model="my-lora")
    ask(client, "/v1/responses", token)
    ask(client, "/tokenize", token)
    eventually(lambda: len(key_service.ledger(key.id)), 7)
    events = key_service.ledger(key.id, "route, model, input_tokens, output_tokens")
    assert Counter(events) == {
        ("/v1/models", None, None, None): 1,
        ("/v1/chat/completions", MODEL, 11, 3): 3,
        ("/v1/completions", "my-lora", 11, 3): 1,
        ("/v1/responses", MODEL, 5, 4): 1,
        ("/tokenize", None, None, None): 1,
    }


def test_vllms_api_key_works_next_to_keygauge_keys(served):
    _, token, client = served(API_KEY="of-the-server")
    both = {"authorization": "Bearer of-the-server", "x-api-key": token}
    assert client.get("/v1/models", headers=both).status_code == 200
    assert client.get("/v1/models", headers={"x-api-key": token}).json() == {"error": "Unauthorized"}
    assert client.get("/v1/models", headers={"authorization": "Bearer of-the-server"}).json()["code"] == "key_invalid"


def test_cors_preflights_pass(served):
    _, _, client = served()
    headers = {"origin": "https://site.example", "access-control-request-method": "POST"}
    assert client.options("/v1/chat/completions", headers=headers).status_code == 200
    refused = client.post("/v1/chat/completions", json={}, headers={"origin": "https://site.example"})
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, "*")
    assert json.loads(refused.text)["code"] == "key_missing"
