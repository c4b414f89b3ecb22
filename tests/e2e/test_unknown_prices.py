"""Budgets with unpriced names: they reserve the price of models that answered before, so a burst cannot overrun it."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from keygauge_keyservice.accounts.plans import Limit

APP = """
import asyncio

from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from keygauge.asgi import KeyGaugeMiddleware


async def chat(request):
    await asyncio.sleep(0.2)
    usage = {"prompt_tokens": 20, "completion_tokens": 50, "total_tokens": 70}
    return JSONResponse({"object": "chat.completion", "model": "unknown-1", "choices": [], "usage": usage})


app = KeyGaugeMiddleware(Starlette(routes=[Route("/v1/chat/completions", chat, methods=["POST"])]))
"""
COMMAND = ["uvicorn", "aliases:app", "--port", "{port}"]
PRICE = {"input": 2_000_000_000, "output": 8_000_000_000}  # nano-USD per million
COST = 20 * 2_000 + 50 * 8_000
CHAT = {"messages": [{"role": "user", "content": "Which is the tallest mountain there is?"}], "max_tokens": 50}


def post(port, token, body):
    headers = {"Authorization": f"Bearer {token}"}
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    return httpx.post(url, json=body, headers=headers, timeout=150).status_code


def used(operator, key):
    answer = operator.get("/v1/usage", params={"account": key.account_id}).json()
    (quota,) = answer["quotas"]
    return quota["used"], quota["counted"]


@pytest.fixture
def operator(key_service):
    headers = {"Authorization": f"Bearer {key_service.admin_token}"}
    with httpx.Client(base_url=key_service.service_url, headers=headers, timeout=150) as operator:
        yield operator


@pytest.mark.timeout(600)
@pytest.mark.parametrize("names", [["my-fast-model"], [f"invented-{number}" for number in range(40)], [None]])
@pytest.mark.parametrize("processes", [1, 2])
def test_forty_calls_at_once_never_exceed_the_budget(key_service, serve, operator, eventually, processes, names):
    operator.post("/v1/prices", json={"model": "unknown-1", "tiers": [PRICE], "valid_from": "2020-01-01T00:00:00Z"})
    amount = 7 * COST + COST // 2
    key, token = key_service.create_key(Limit(name="budget", unit="nanousd", amount=amount, period="month"))
    ports = [serve(COMMAND, {"aliases.py": APP}, key_service)[0] for _ in range(processes)]
    assert [post(port, token, CHAT | {"model": "unknown-1"}) for port in ports] == [200] * processes
    places = [(ports[number % processes], CHAT | {"model": names[number % len(names)]}) for number in range(40)]
    with ThreadPoolExecutor(len(places)) as pool:
        statuses = Counter(pool.map(lambda place: post(place[0], token, place[1]), places))
    assert set(statuses) <= {200, 429}
    assert 1 <= statuses[200] <= 7 - processes
    cost = (processes + statuses[200]) * COST
    eventually(lambda: used(operator, key), (cost, cost))
