"""Used and remaining units of a limit are the same in headers, API, metrics, portal and command line."""

import asyncio
import io
import json
import re
import time
from contextlib import redirect_stdout

import http_sf
import httpx
import pytest
from polling import until
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from keygauge.cli import main
from keygauge.clock import SECOND, now_ns
from keygauge_keyservice.accounts import members

AMOUNT = 100_000
PASSWORD = "correct horse battery"
TOKEN = "test-admin-token-0123456789"
ADMIN = {"authorization": f"Bearer {TOKEN}"}


async def hello(request):
    return JSONResponse({})


def told_by_usage(service, key, _):
    answer = httpx.get(f"{service.url}/v1/usage", params={"account": key.account_id}, headers=ADMIN, timeout=60).json()
    (quota,) = answer["quotas"]
    return quota["used"], quota["remaining"]


def told_by_me(service, _, token):
    answer = httpx.get(f"{service.url}/v1/me", headers={"authorization": f"Bearer {token}"}, timeout=60).json()
    (limit,) = answer["limits"]
    return limit["used"], limit["remaining"]


def told_by_metrics(service, *_):
    text = httpx.get(f"{service.url}/metrics", headers=ADMIN, timeout=60).text
    (used,) = re.findall(r'^keygauge_limit_used\{.*limit="monthly".*\} (\S+)$', text, re.MULTILINE)
    return int(float(used)), AMOUNT - int(float(used))


def told_by_portal(service, key, _):
    email = "owner@acme.example"
    if not members.list_memberships(service.connection, email):
        members.create(
            service.connection, account_id=key.account_id, email=email, password=PASSWORD, role="owner", actor="test"
        )
    with httpx.Client(base_url=service.url, timeout=60) as browser:
        browser.post("/sign-in", data={"email": email, "password": PASSWORD})
        page = browser.get("/").text
    used, remaining = re.search(r'"number">([\d,]+)</span> / 100,000.*?([\d,]+) remaining', page, re.DOTALL).groups()
    return int(used.replace(",", "")), int(remaining.replace(",", ""))


def told_by_command_line(service, key, _):
    printed = io.StringIO()
    with redirect_stdout(printed):
        assert main(["usage", "--url", service.url, "--token", TOKEN, "--account", key.account_id, "-o", "json"]) == 0
    (quota,) = json.loads(printed.getvalue())["quotas"]
    return quota["used"], quota["remaining"]


@pytest.mark.parametrize("told_by", [told_by_usage, told_by_me, told_by_metrics, told_by_portal, told_by_command_line])
async def test_the_service_reports_the_same_figures_as_the_header(service, guard, visit, told_by):
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


async def test_a_process_that_used_a_limit_alone_learns_of_others_before_its_next_grant(service, guard, visit):
    _, token = service.key({"name": "monthly", "unit": "request", "amount": AMOUNT, "period": "month"})
    first, newcomer = (guard(Starlette(routes=[Route("/hello", hello)])) for _ in range(2))
    for _ in range(3):
        assert (await visit(first, token)).status_code == 200
    (lease_pool,) = first._process.runtime._heartbeat.admission.held
    granted_ns, calls = lease_pool.granted_ns, 503
    for _ in range(500):
        assert (await visit(newcomer, token)).status_code == 200
    await asyncio.sleep(1)  # until the report is old
    assert (await visit(first, token)).status_code == 200
    until(lambda: lease_pool.remaining(now_ns()) == AMOUNT - calls - 1)
    assert lease_pool.granted_ns == granted_ns


async def test_an_idle_process_learns_when_the_others_stop(service, guard, visit):
    _, token = service.key({"name": "monthly", "unit": "request", "amount": AMOUNT, "period": "month"})
    idle, busy = (guard(Starlette(routes=[Route("/hello", hello)])) for _ in range(2))
    assert (await visit(idle, token)).status_code == 200
    (lease_pool,) = idle._process.runtime._heartbeat.admission.held
    left, end = AMOUNT - 1, time.monotonic() + 4
    while time.monotonic() < end or not lease_pool.is_outdated(now_ns() + SECOND):
        for app in [idle] + 10 * [busy]:
            assert (await visit(app, token)).status_code == 200
            left -= 1
    # An estimate can be right by chance, while it still falls.
    until(lambda: lease_pool.remaining(now_ns()) == left and not lease_pool.is_outdated(now_ns() + SECOND))


@pytest.mark.parametrize("window_s", [10, 60, 3_600])
async def test_what_other_processes_hold_is_not_used(service, guard, visit, window_s):
    amount = 2_000
    _, token = service.key({"name": "rate", "unit": "request", "amount": amount, "window_s": window_s})
    one, other = (guard(Starlette(routes=[Route("/hello", hello)])) for _ in range(2))
    calls = errors = 0
    end = time.monotonic() + 8
    while time.monotonic() < end:
        for app in [other] * 5 + [one]:
            answer = await visit(app, token)
            calls += 1
            await asyncio.sleep(0.02)
        ((_, parameters),) = http_sf.parse(answer.headers["ratelimit"].encode(), tltype="list")
        errors = max(errors, abs(parameters["r"] - (amount - calls))) if time.monotonic() > end - 4 else 0
    assert errors <= amount // 100
