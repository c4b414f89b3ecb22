"""What is used and what remains of a limit is the same wherever it is told."""

import asyncio
import re
import time

import http_sf
import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

AMOUNT = 100_000
ADMIN = {"authorization": "Bearer test-admin-token-0123456789"}


async def hello(request):
    return JSONResponse({})


def told_by_usage(service, key, _):
    answer = httpx.get(f"{service.url}/v1/usage", params={"account": key.account_id}, headers=ADMIN).json()
    (quota,) = answer["quotas"]
    return quota["used"], quota["remaining"]


def told_by_me(service, _, token):
    answer = httpx.get(f"{service.url}/v1/me", headers={"authorization": f"Bearer {token}"}).json()
    (limit,) = answer["limits"]
    return limit["used"], limit["remaining"]


def told_by_metrics(service, *_):
    text = httpx.get(f"{service.url}/metrics", headers=ADMIN).text
    (used,) = re.findall(r'^keygauge_limit_used\{.*limit="monthly".*\} (\S+)$', text, re.MULTILINE)
    return int(float(used)), AMOUNT - int(float(used))


@pytest.mark.parametrize("told_by", [told_by_usage, told_by_me, told_by_metrics])
async def test_the_service_tells_what_the_header_told(service, guard, visit, told_by):
    key, token = service.key({"name": "monthly", "unit": "request", "amount": AMOUNT, "period": "month"})
    app = guard(Starlette(routes=[Route("/hello", hello)]))
    for _ in range(7):
        answer = await visit(app, token)
    ((name, parameters),) = http_sf.parse(answer.headers["ratelimit"].encode(), tltype="list")
    assert (name, parameters["r"]) == ("monthly", AMOUNT - 7)
    deadline = time.monotonic() + 100
    while (figures := told_by(service, key, token)) != (7, AMOUNT - 7) and time.monotonic() < deadline:
        await asyncio.sleep(0.05)  # until the next heartbeat
    assert figures == (7, AMOUNT - 7)
