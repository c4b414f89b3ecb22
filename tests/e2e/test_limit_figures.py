"""Used and remaining units of each kind of limit are the same everywhere they are shown, after the same traffic."""

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import cycle

import http_sf
import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from keygauge.weights import Weights
from keygauge_keyservice import database
from keygauge_keyservice.accounts import members
from keygauge_keyservice.accounts.plans import Limit

APP = """
import asyncio

from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from keygauge.asgi import KeyGaugeMiddleware


async def chat(request):
    usage = {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150}
    return JSONResponse({"object": "chat.completion", "model": "figures-1", "choices": [], "usage": usage})


async def hello(request):
    return JSONResponse({})


async def tool(request):
    return JSONResponse({"jsonrpc": "2.0", "id": 1, "result": {"content": []}})


async def slow(request):
    await asyncio.sleep(15)
    return JSONResponse({})


routes = [
    Route("/v1/chat/completions", chat, methods=["POST"]),
    Route("/hello", hello),
    Route("/ask", hello, methods=["POST"]),
    Route("/mcp", tool, methods=["POST"]),
    Route("/slow", slow),
]
app = KeyGaugeMiddleware(Starlette(routes=routes))
"""
UNKNOWN = "unused", "unused_tool", "each_slot"  # to a process in which no call was counted by them
COMMAND = ["uvicorn", "figures:app", "--port", "{port}"]
CHATS, HELLOS = 12, 5
CALLS = CHATS + HELLOS
SLOW = 4
COST = CHATS * (100 * 2_000 + 50 * 8_000)  # nano-USD
PRICE = {"input": 2_000_000_000, "output": 8_000_000_000}  # nano-USD per million
LIMITS = {  # name: the limit, its use by the calls, and the output of `keygauge usage`
    "hour": (Limit(name="hour", unit="request", amount=500, period="hour"), CALLS, "17"),
    "month": (Limit(name="month", unit="request", amount=2_000, period="month"), CALLS, "17"),
    "total": (Limit(name="total", unit="request", amount=3_000, period="lifetime"), CALLS, "17"),
    "each": (Limit(name="each", unit="request", amount=400, period="day", subject="key"), CALLS, "17"),
    "kind": (Limit(name="kind", unit="request", amount=300, period="day", model="figures-*"), CHATS, "12"),
    "path": (Limit(name="path", unit="request", amount=300, period="day", route="/v1/*"), CHATS, "12"),
    "token": (Limit(name="token", unit="token", amount=10**6, period="week"), CHATS * 150, "1,800"),
    "input": (Limit(name="input", unit="input_token", amount=10**6, period="year"), CHATS * 100, "1,200"),
    "output": (Limit(name="output", unit="output_token", amount=10**6, period="quarter"), CHATS * 50, "600"),
    "usd": (Limit(name="usd", unit="nanousd", amount=10**15, period="month"), COST, "$0.0072"),
    "credit": (
        Limit(name="credit", unit="nanousd", amount=5 * 10**9, period="day", credit_nanousd=10**6),
        COST,
        "7.20 credits",
    ),
    "points": (
        Limit(
            name="points",
            unit="weighted",
            unit_name="points",
            amount=10**6,
            period="month",
            weights=Weights(request=10, input=1, output=4),
        ),
        10 * CALLS + CHATS * 300,
        "3,770 points",
    ),
    "unused": (Limit(name="unused", unit="request", amount=100, period="month", model="other-*"), 0, "0"),
    "unused_tool": (Limit(name="unused_tool", unit="token", amount=100, period="day", tool="other"), 0, "0"),
}
RATES = {  # name: the limit, its use by the calls, and what they leave, once the calls are some seconds old
    "rate": (Limit(name="rate", unit="request", amount=600, window_s=3600), CALLS, 600 - CALLS),
    "even": (Limit(name="even", unit="request", amount=9_000, window_s=60, smooth=True), 0, 225),  # at once
    "slots": (Limit(name="slots", unit="concurrent", amount=50), 0, 50),
    "each_slot": (Limit(name="each_slot", unit="concurrent", amount=40, route="/slow"), 0, 40),
}
TAGGED = Limit(name="tagged", unit="request", amount=90, period="day", per_tag=True)


@pytest.fixture
def owned(key_service):
    """A key with a limit of each kind, and its token; its account has a member."""
    return own(key_service, TAGGED, *(limit for limit, _, _ in (*LIMITS.values(), *RATES.values())))


def own(key_service, *limits):
    key, token = key_service.create_key(*limits)
    operator = {"Authorization": f"Bearer {key_service.admin_token}"}
    price = {"model": "figures-1", "tiers": [PRICE], "valid_from": "2020-01-01T00:00:00Z"}
    httpx.post(f"{key_service.service_url}/v1/prices", json=price, headers=operator, timeout=150)
    with database.connect(key_service.database_url) as connection:
        members.create(
            connection,
            account_id=key.account_id,
            email=f"{key.id.lower()}@e2e.example",
            password="a password of twenty",
            actor="test",
        )
    return key, token


def by_api(service, key, token):
    answer = service.get("/v1/usage", params={"account": key.account_id}).json()
    return {one["name"]: (one["used"], one["remaining"]) for one in answer["quotas"]}


def by_live_rates(service, key, token):
    """Return the figures of the account's rates; those of its keys are listed for a key."""
    answer = service.get("/v1/usage", params={"account": key.account_id}).json()
    return {one["name"]: (one["used"], one["remaining"]) for one in answer["pace"]["rates"]}


def by_portal_rates(service, key, token):
    with signed_in(service, key) as visitor:
        answer = visitor.get("/now.json").json()
    return {one["name"]: (one["used"], one["remaining"]) for one in answer["now"] if one["name"]}


def by_ledger(service, key, token):
    answer = service.get("/v1/usage", params={"account": key.account_id}).json()
    return {one["name"]: (one["counted"], one["amount"] - one["counted"]) for one in answer["quotas"]}


def by_key(service, key, token):
    answer = service.get("/v1/me", headers={"Authorization": f"Bearer {token}"}).json()
    return {one["name"]: (one["used"], one["remaining"]) for one in answer["limits"]}


@contextmanager
def signed_in(service, key):
    with httpx.Client(base_url=service.base_url, timeout=150) as visitor:
        form = {"email": f"{key.id.lower()}@e2e.example", "password": "a password of twenty", "next": "/"}
        visitor.post("/sign-in", data=form, headers={"Origin": str(service.base_url).rstrip("/")})
        yield visitor


def by_portal(service, key, token):
    with signed_in(service, key) as visitor:
        answer = visitor.get("/quotas.json").json()
    return {one["name"]: (one["used"], one["remaining"]) for one in answer["quotas"]}


def by_metrics(service, key, token):
    told = {"keygauge_limit_used": {}, "keygauge_limit_max": {}}
    for family in text_string_to_metric_families(service.get("/metrics").text):
        for sample in family.samples:
            if sample.name in told and sample.labels["account"] == key.account_id:
                told[sample.name][sample.labels["limit"]] = int(sample.value)
    used, most = told.values()
    return {name: (used[name], most[name] - used[name]) for name in used}


def by_command(key_service, key):
    """Return the used units of quotas in the output of the command line, and used and remaining ones of rates."""
    environ = os.environ | {"KEYGAUGE_URL": key_service.service_url, "KEYGAUGE_TOKEN": key_service.admin_token}
    command = [sys.executable, "-m", "keygauge.cli", "usage", "--account", key.account_id]
    told = subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stdout
    quotas, rates = (
        [line.split("\t") for line in told.partition(f"{title}\t")[2].partition("\n\n")[0].splitlines()[1:]]
        for title in ("QUOTA", "RATE")
    )
    used = {re.sub(r" \(.*", "", row[0]): row[2] for row in quotas}
    return used, {re.sub(r" \(.*", "", row[0]): (int(row[2]), int(row[4])) for row in rates}


def by_header(answer):
    """Return the remaining units for the next call."""
    return {str(name): terms["r"] for name, terms in http_sf.parse(answer.headers["ratelimit"].encode(), tltype="list")}


def start(serve, key_service):
    return serve(COMMAND, {"figures.py": APP}, key_service, KEYGAUGE_TAG="header:X-End-User")[0]


TOOL_LIMITS = {
    "tool": (Limit(name="tool", unit="request", amount=200, period="day", tool="sea*"), 3),
    "other": (Limit(name="other", unit="request", amount=200, period="month", tool="write"), 0),
    "month": (Limit(name="month", unit="request", amount=2_000, period="month"), 5),
    "hour": (Limit(name="hour", unit="request", amount=300, window_s=3_600, tool="search"), 3),
    "evenly": (Limit(name="evenly", unit="request", amount=9_000, window_s=60, smooth=True, tool="search"), 0),
    "at_once": (Limit(name="at_once", unit="concurrent", amount=7, tool="search"), 0),
}


def test_calls_of_tools_are_the_same_everywhere(key_service, serve, eventually):
    key, token = own(key_service, *(limit for limit, _ in TOOL_LIMITS.values()))
    port = start(serve, key_service)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=150) as client:
        client.headers.update({"Authorization": f"Bearer {token}"})
        for name in ("search", "search", "search", "read", "read"):
            call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name}}
            assert client.post("/mcp", json=call).status_code == 200
    quotas = {name: (used, limit.amount - used) for name, (limit, used) in TOOL_LIMITS.items() if limit.period}
    rates = {"evenly": (0, 225), "at_once": (0, 7), "hour": (3, 297)}
    operator = {"Authorization": f"Bearer {key_service.admin_token}"}
    with httpx.Client(base_url=key_service.service_url, headers=operator, timeout=150) as service:
        for told in (by_ledger, by_api, by_portal):
            eventually(lambda told=told: told(service, key, token), quotas)
        for told in (by_live_rates, by_portal_rates):
            eventually(lambda told=told: told(service, key, token), rates)
        for told in (by_key, by_metrics):
            eventually(lambda told=told: told(service, key, token), quotas | rates)
    assert by_command(key_service, key) == ({name: str(TOOL_LIMITS[name][1]) for name in quotas}, rates)


UNTOLD = {
    "minute": Limit(name="minute", unit="token", amount=9_000, window_s=60),
    "hour": Limit(name="hour", unit="token", amount=9_000, window_s=3600),
    "budget": Limit(name="budget", unit="output_token", amount=9_000, period="month"),
    "spent": Limit(name="spent", unit="token", amount=9_000, period="day"),
}


def test_reservations_of_answers_without_usage_are_the_same_everywhere(key_service, serve, eventually):
    key, token = own(key_service, *UNTOLD.values())
    port = start(serve, key_service)
    ask = {"prompt": "x" * 120, "max_tokens": 60}
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=150, headers=headers) as client:
        left = [by_header(client.post("/ask", json=ask)) for _ in range(3)][-1]
    assert left["minute"] == left["hour"] == left["spent"] < left["budget"] == 9_000 - 180
    expected = {name: (9_000 - left[name], left[name]) for name in UNTOLD}
    quotas, rates = ({name: expected[name] for name in names} for names in (("budget", "spent"), ("minute", "hour")))
    operator = {"Authorization": f"Bearer {key_service.admin_token}"}
    with httpx.Client(base_url=key_service.service_url, headers=operator, timeout=150) as service:
        for told in (by_live_rates, by_portal_rates):
            eventually(lambda told=told: told(service, key, token), rates, timeout_s=40)  # a lease's life
        for told in (by_api, by_portal):
            eventually(lambda told=told: told(service, key, token), quotas)
        for told in (by_key, by_metrics):
            eventually(lambda told=told: told(service, key, token), expected)


@pytest.mark.parametrize("processes", [1, 2])
def test_calls_in_progress_are_the_same_everywhere(key_service, serve, owned, eventually, processes):
    key, token = owned
    ports = [start(serve, key_service) for _ in range(processes)]
    headers = {"Authorization": f"Bearer {token}", "X-End-User": "ada"}
    operator = {"Authorization": f"Bearer {key_service.admin_token}"}

    def slots(told):
        found = told(service, key, token)
        return found["slots"], found["each_slot"]

    with (
        ThreadPoolExecutor(SLOW) as pool,
        httpx.Client(base_url=key_service.service_url, headers=operator, timeout=150) as service,
    ):
        for port, _ in zip(cycle(ports), range(SLOW), strict=False):
            pool.submit(httpx.get, f"http://127.0.0.1:{port}/slow", headers=headers, timeout=150)
        for told in (by_live_rates, by_portal_rates, by_key, by_metrics):
            eventually(lambda told=told: slots(told), ((SLOW, 50 - SLOW), (SLOW, 40 - SLOW)))
        answer = httpx.get(f"http://127.0.0.1:{ports[0]}/hello", headers=headers, timeout=150)
        left = by_header(answer)["slots"]
        assert left == 50 - SLOW - 1 if processes == 1 else 40 <= left < 50 - SLOW
    with httpx.Client(base_url=key_service.service_url, headers=operator, timeout=150) as service:
        for told in (by_live_rates, by_portal_rates, by_key, by_metrics):
            eventually(lambda told=told: slots(told), ((0, 50), (0, 40)))


@pytest.mark.parametrize("processes", [1, 2])
def test_used_and_remaining_are_the_same_everywhere(key_service, serve, owned, eventually, processes):
    key, token = owned
    ports = [start(serve, key_service) for _ in range(processes)]
    for port, number in zip(cycle(ports), range(CALLS), strict=False):
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=150) as client:
            client.headers.update({"Authorization": f"Bearer {token}", "X-End-User": "ada"})
            chat = {"model": "figures-1", "messages": [], "max_tokens": 60}
            answer = client.post("/v1/chat/completions", json=chat) if number < CHATS else client.get("/hello")
            assert answer.status_code == 200
    expected = {name: (used, limit.amount - used) for name, (limit, used, _) in LIMITS.items()}
    operator = {"Authorization": f"Bearer {key_service.admin_token}"}
    with httpx.Client(base_url=key_service.service_url, headers=operator, timeout=150) as service:
        for told in (by_ledger, by_api, by_portal):
            eventually(lambda told=told: told(service, key, token), expected)
        rates = {name: (used, left) for name, (_, used, left) in RATES.items()}
        for told in (by_live_rates, by_portal_rates):
            eventually(lambda told=told: told(service, key, token), rates)
        expected |= rates
        eventually(lambda: by_metrics(service, key, token), expected)
        eventually(lambda: by_key(service, key, token), expected | {"tagged": (None, None)})
    assert by_command(key_service, key) == ({name: text for name, (_, _, text) in LIMITS.items()}, rates)
    if processes == 1:  # with one process it is exact, minus the reservation of the call itself
        answer = httpx.get(
            f"http://127.0.0.1:{ports[0]}/hello",
            headers={"Authorization": f"Bearer {token}", "X-End-User": "ada"},
            timeout=150,
        )
        reserved = {name: 0 if name in ("kind", "path") else 1 for name in expected} | {"points": 10}
        left = {name: expected[name][1] - reserved[name] for name in expected if name not in UNKNOWN}
        left["tagged"] = TAGGED.amount - CALLS - 1
        left |= {name: left[name] // 10**7 for name in ("usd", "credit")}
        assert by_header(answer) == left
