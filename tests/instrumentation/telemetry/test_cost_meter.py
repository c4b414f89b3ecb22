"""Costs in the metrics compared with the ledger, for calls through the middleware with a real key service."""

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from keygauge.pricing.rates import Rates
from keygauge_keyservice.pricing import own_prices

RPM = {"name": "rpm", "unit": "request", "amount": 1000, "window_s": 60}
START = datetime.now(UTC) - timedelta(days=1)


async def chat(request):
    body = await request.json()
    answer = {"object": "chat.completion", "model": body["model"], "choices": [], "usage": body["usage"]}
    return JSONResponse(answer)


def usage(given, made, cached=0, reasoned=0):
    return {
        "prompt_tokens": given,
        "completion_tokens": made,
        "total_tokens": given + made,
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens_details": {"reasoning_tokens": reasoned},
    }


CALLS = [
    ("gpt-4o-mini", usage(1_001, 333, cached=17, reasoned=5)),
    ("gpt-4o-2024-08-06", usage(7, 1)),
    ("house", usage(3, 1)),
    ("house", usage(2_000, 9, reasoned=9)),
    ("made-up-model", usage(10, 10)),
    ("m" * 300, usage(10, 10)),
]


@pytest.fixture
def host(guard):
    return guard(Starlette(routes=[Route("/chat", chat, methods=["POST"])]))


def metered(host, key):
    """Return a key's cost in the metrics."""
    aggregator = host._process.start().aggregator
    aggregator.drain()
    return sum(cell.cost_nanousd for cell in aggregator.cells() if cell.series.key == key.id)


def wait_for(read, expected, timeout_s=100):
    deadline = time.monotonic() + timeout_s
    while read() != expected and time.monotonic() < deadline:
        time.sleep(0.05)
    return read()


def set_price(service, rate, **terms):
    tiers = [Rates(-1, rate, 2 * rate, rate // 3, rate, 3 * rate, 10**6), Rates(1_000, 2 * rate, *[rate] * 4, 0)]
    terms = {"model": "house", "valid_from": START} | terms
    return own_prices.set_price(service.connection, tiers=tiers, actor="test", **terms)


async def test_metrics_and_ledger_have_the_same_cost(service, host, visit):
    key, token = service.key(RPM)
    other, other_token = service.key(RPM)
    set_price(service, 1_234_567)
    set_price(service, 7_654_321, account_id=other.account_id)
    set_price(service, 99, provider="elsewhere")
    for sent in (token, other_token):
        for model, told in CALLS * 3:
            assert (await visit(host, sent, "/chat", method="POST", json={"model": model, "usage": told})).is_success
    events = service.events(36)
    for one in (key, other):
        ledger = sum(event["cost_nanousd"] or 0 for event in events if event["key_id"] == one.id)
        assert ledger > 0
        assert wait_for(lambda one=one: metered(host, one), ledger) == ledger
    versions = {event["price_version"] for event in events if event["model"] == "house"}
    assert len(versions) == 2
    assert {event["cost_nanousd"] for event in events if event["model"] == "made-up-model"} == {None}


async def test_new_price_applies_in_the_metrics_about_one_heartbeat_later(service, host, visit):
    key, token = service.key(RPM)

    async def cost_of_a_call():
        before = metered(host, key)
        await visit(host, token, "/chat", method="POST", json={"model": "house", "usage": usage(3, 1)})
        deadline = time.monotonic() + 3
        while metered(host, key) == before and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        return metered(host, key) - before

    set_price(service, 1_000_000)
    assert await cost_of_a_call() == 3 + 2 + 1
    set_price(service, 3_000_000)
    await asyncio.sleep(1.5)
    assert await cost_of_a_call() == 9 + 6 + 1
    set_price(service, 5_000_000, account_id=key.account_id)
    await asyncio.sleep(1.5)
    assert await cost_of_a_call() == 15 + 10 + 1


async def test_calls_priced_by_the_last_heartbeat_are_counted(service, host, visit):
    key, token = service.key(RPM)
    await visit(host, token, "/chat", method="POST", json={"model": "gpt-4o-mini", "usage": usage(1_000, 1_000)})
    aggregator = host._process.runtime.aggregator
    host._process.stop()
    cost = sum(cell.cost_nanousd for cell in aggregator.cells() if cell.series.key == key.id)
    (event,) = service.events(1)
    assert cost == event["cost_nanousd"] > 0
