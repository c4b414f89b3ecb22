"""Bursts on freshly started real servers: calls within the limits are admitted, on a busy machine too."""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection

import pytest

from keygauge_keyservice.accounts import plans

APP = """
import asyncio

from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from keygauge.asgi import KeyGaugeMiddleware


async def chat(request):
    await asyncio.sleep(0.05)
    usage = {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30}
    return JSONResponse({"object": "chat.completion", "model": "gpt-4o", "choices": [], "usage": usage})


app = KeyGaugeMiddleware(Starlette(routes=[Route("/chat", chat, methods=["POST"])]))
"""
COMMAND = ["uvicorn", "bursts:app", "--port", "{port}"]
RPM = plans.Limit(name="rpm", unit="request", amount=100_000_000, window_s=60)
MONTH = plans.Limit(name="month", unit="request", amount=10_000_000_000, period="month")
TPM = plans.Limit(name="tpm", unit="token", amount=50_000_000, window_s=60)


def post(port, token):
    connection = HTTPConnection("127.0.0.1", port, timeout=150)
    try:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        connection.request("POST", "/chat", b"{}", headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def burst(port, token, calls):
    with ThreadPoolExecutor(calls) as pool:
        return Counter(pool.map(lambda _: post(port, token), range(calls)))


@pytest.mark.parametrize(
    "limits", [[RPM, MONTH], [TPM], [RPM, TPM]], ids=lambda limits: "+".join(x.name for x in limits)
)
def test_bursts_are_admitted_on_a_cold_key_and_on_a_warm_one(key_service, serve, limits):
    _, token = key_service.create_key(*limits)
    port, _ = serve(COMMAND, {"bursts.py": APP}, key_service, KEYGAUGE_WAIT_S="0.25")
    for _ in range(4):
        assert burst(port, token, 30) == {200: 30}
        time.sleep(0.7)  # until leases are about to end


def test_a_cold_key_serves_300_calls_at_once(key_service, serve):
    _, token = key_service.create_key(RPM, TPM)
    port, _ = serve(COMMAND, {"bursts.py": APP}, key_service, KEYGAUGE_WAIT_S="0.25")
    assert burst(port, token, 300) == {200: 300}


def test_calls_above_a_limit_of_concurrent_requests_get_429(key_service, serve):
    _, token = key_service.create_key(plans.Limit(name="at_once", unit="concurrent", amount=2))
    port, _ = serve(COMMAND, {"bursts.py": APP}, key_service, KEYGAUGE_WAIT_S="0.25")
    statuses = sum((burst(port, token, 30) for _ in range(3)), Counter())
    assert set(statuses) == {200, 429}
    assert statuses[200] >= 6
