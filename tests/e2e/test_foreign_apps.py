"""Third-party applications with the middleware added, driven by their own clients."""

import json
import sqlite3
import subprocess
from collections import Counter
from pathlib import Path

import environments
import httpx
import openai
import pytest
from serving import terminate

import keygauge
from keygauge_keyservice.accounts import plans

KEYGAUGE = Path(keygauge.__file__).parent.parent
LIMITS = (
    plans.Limit(name="rpm", unit="request", amount=10_000, window_s=60),
    plans.Limit(name="monthly_requests", unit="request", amount=1_000_000, period="month"),
)

pytestmark = [pytest.mark.timeout(900), pytest.mark.xdist_group("foreign")]

LITELLM = """
from litellm.proxy.proxy_server import app

from keygauge.asgi import KeyGaugeMiddleware

app.add_middleware(KeyGaugeMiddleware, open_paths=["/health*"])
"""
LITELLM_CONFIG = {
    "model_list": [
        {
            "model_name": "fake",
            "litellm_params": {
                "model": "openai/gpt-4o-mini",
                "api_key": "none",
                "mock_response": "Four words at most.",
            },
        }
    ]
}
LITELLM_CLIENT = """
import json
import sys

import litellm

options = {
    "model": "litellm_proxy/fake",
    "api_base": sys.argv[1],
    "api_key": sys.argv[2],
    "messages": [{"role": "user", "content": "hi"}],
}
usage = litellm.completion(**options).usage
chunks = list(litellm.completion(**options, stream=True, stream_options={"include_usage": True}))
last = next(chunk.usage for chunk in reversed(chunks) if getattr(chunk, "usage", None))
print(json.dumps([[usage.prompt_tokens, usage.completion_tokens], [last.prompt_tokens, last.completion_tokens]]))
"""


def stranded(stack, key):
    """Return the month's units that were neither used by calls nor returned."""
    (row,) = stack.query(
        "SELECT cells[1] FROM limit_state JOIN plan_limit ON limit_state.id LIKE plan_limit.id || ':%%' "
        "WHERE plan_limit.name = 'monthly_requests' AND account_id = %s",
        key.account_id,
    )
    return row[0] - len(stack.ledger(key.id))


@pytest.mark.long
def test_litellm_proxy_with_its_own_client_and_the_openai_sdk(key_service, serve, servers):
    bin_dir = environments.programs("litellm")
    key, token = key_service.create_key(*LIMITS)
    config = {"metered.py": LITELLM, "config.yaml": json.dumps(LITELLM_CONFIG), "client.py": LITELLM_CLIENT}
    port, process = serve(
        ["uvicorn", "metered:app", "--port", "{port}"],
        config,
        key_service,
        bin_dir=bin_dir,
        path=[KEYGAUGE],
        ready_s=180,
        CONFIG_FILE_PATH=str(servers.directory / "config.yaml"),
        LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY="true",  # KeyGauge protects it here
    )
    address = f"http://127.0.0.1:{port}"
    told = []
    with openai.OpenAI(api_key=token, base_url=f"{address}/v1", max_retries=0) as client:
        options = {"model": "fake", "messages": [{"role": "user", "content": "hi"}]}
        usage = client.chat.completions.create(**options).usage
        told.append(("/v1/chat/completions", None, usage.prompt_tokens, usage.completion_tokens))
        *_, last = client.chat.completions.create(**options, stream=True, stream_options={"include_usage": True})
        told.append(("/v1/chat/completions", "sse", last.usage.prompt_tokens, last.usage.completion_tokens))
        usage = client.responses.create(model="fake", input="hi").usage
        told.append(("/v1/responses", None, usage.input_tokens, usage.output_tokens))
        with pytest.raises(openai.AuthenticationError):
            client.with_options(api_key="kg_live_nonsense").chat.completions.create(**options)
    program = [bin_dir / "python", servers.directory / "client.py", address, token]
    done = subprocess.run(program, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    plain, streamed = json.loads(done.stdout.splitlines()[-1])
    told += [("/chat/completions", None, *plain), ("/chat/completions", "sse", *streamed)]
    terminate(process)
    events = key_service.ledger(key.id, "route, stream, input_tokens, output_tokens, status, usage_status, model")
    assert Counter(event[:4] for event in events) == Counter(told)
    assert {event[4:] for event in events} == {(200, "reported", "fake")}
    assert stranded(key_service, key) == 0


HTTPBIN = """
from httpbin import app

from keygauge.wsgi import KeyGaugeMiddleware

app.wsgi_app = KeyGaugeMiddleware(app.wsgi_app)
"""


@pytest.mark.parametrize("worker", [["sync"], ["gthread", "--threads", "4"]], ids=lambda worker: worker[0])
def test_httpbin_under_gunicorn(key_service, serve, collector, worker):
    bin_dir = environments.programs("httpbin")
    key, token = key_service.create_key(*LIMITS)
    command = ["gunicorn", "metered:app", "--bind", "127.0.0.1:{port}", "--workers", "2", "--worker-class", *worker]
    port, process = serve(command, {"metered.py": HTTPBIN}, key_service, bin_dir=bin_dir, path=[KEYGAUGE])
    asked = {
        "/get": ("/get", 200),
        "/anything/a/b": ("/anything/<path:anything>", 200),
        "/status/418": ("/status/<codes>", 418),
        "/bytes/1000": ("/bytes/<int:n>", 200),
        "/stream/5": ("/stream/<int:n>", 200),
        "/stream-bytes/5000?chunk_size=100": ("/stream-bytes/<int:n>", 200),
        "/gzip": ("/gzip", 200),
        "/brotli": ("/brotli", 200),
        "/redirect-to?url=/get": ("/redirect-to", 302),
        "/nothing/here": ("_unmatched", 404),
    }
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=60) as client:
        sizes = {path: len(client.get(path).content) for path in asked}
        echo = client.post("/post", content=b"x" * 100_000)
        assert echo.status_code == 200, echo.text
        assert echo.json()["data"] == "x" * 100_000
        assert httpx.get(f"http://127.0.0.1:{port}/get", timeout=60).status_code == 401
    terminate(process)
    events = key_service.ledger(key.id, "route, status, request_bytes, response_bytes")
    assert Counter(event[:2] for event in events) == Counter([*asked.values(), ("/post", 200)])
    by_route = {event[0]: event for event in events}
    assert by_route["/post"][2] == 100_000
    assert by_route["/bytes/<int:n>"][3] == sizes["/bytes/1000"] == 1000
    assert by_route["/stream-bytes/<int:n>"][3] == 5000
    assert by_route["/stream/<int:n>"][3] == sizes["/stream/5"]
    assert collector.total("keygauge.requests", **{"keygauge.key.id": key.id}) == len(asked) + 1
    assert stranded(key_service, key) == 0


DATASETTE = """
from datasette.app import Datasette

from keygauge.asgi import KeyGaugeMiddleware

app = KeyGaugeMiddleware(Datasette(["shop.db"]).app())
"""


def test_datasette_under_uvicorn(key_service, serve, servers, collector):
    bin_dir = environments.programs("datasette")
    key, token = key_service.create_key(*LIMITS)
    with sqlite3.connect(servers.directory / "shop.db") as shop:
        shop.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT)")
        shop.executemany("INSERT INTO item (name) VALUES (?)", [(f"item {number}",) for number in range(500)])
    shop.close()
    command = ["uvicorn", "metered:app", "--port", "{port}"]
    port, process = serve(command, {"metered.py": DATASETTE}, key_service, bin_dir=bin_dir, path=[KEYGAUGE])
    asked = {
        "/": ("/(.{format})?", 200),
        "/-/versions.json": ("/-/versions(.{format})?", 200),
        "/shop": ("/{database}(.{format})?", 200),
        "/shop/item.json?_size=3": ("/{database}/{table}(.{format})?", 200),
        "/shop/item/7.json": ("/{database}/{table}/{pks}(.{format})?", 200),
        "/shop/item.csv?_stream=1": ("/{database}/{table}(.{format})?", 200),
        "/none": ("/{database}(.{format})?", 404),
        "/a/b/c/d/e/f": ("_unmatched", 404),
    }
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=60) as client:
        answers = {path: client.get(path) for path in asked}
    assert answers["/shop/item/7.json"].json()["rows"] == [[7, "item 6"]]
    assert len(answers["/shop/item.csv?_stream=1"].text.splitlines()) == 501
    terminate(process)
    events = key_service.ledger(key.id, "route, status, response_bytes")
    assert Counter(event[:2] for event in events) == Counter(asked.values())
    assert sum(event[2] for event in events) == sum(len(answer.content) for answer in answers.values())
    assert collector.total("keygauge.requests", **{"keygauge.key.id": key.id}) == len(asked)
    assert stranded(key_service, key) == 0
