"""The cost of calls, in total and by kind, is the same in all interfaces."""

import asyncio
import csv
import io
import json
import time
from collections import Counter
from contextlib import redirect_stdout
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from keygauge.cli import main
from keygauge.pricing.rates import Rates
from keygauge_keyservice.accounts import members
from keygauge_keyservice.billing import billing
from keygauge_keyservice.pricing import own_prices

PASSWORD = "correct horse battery"
TOKEN = "test-admin-token-0123456789"
ADMIN = {"authorization": f"Bearer {TOKEN}"}
# Odd rates, so that each kind's cost per call, and their total, is a fraction of a nano-dollar.
RATES = Rates(-1, 1_500_007, 6_000_011, 750_013, 1_875_017, 6_500_019, 333_333_333, {"input_audio": 9_000_023})
CALLS = [
    {
        "prompt_tokens": 101 + 7 * number,
        "completion_tokens": 31 + number,
        "prompt_tokens_details": {"cached_tokens": 13 * (number % 3), "audio_tokens": 5 * (number % 2)},
        "completion_tokens_details": {"reasoning_tokens": 3 * (number % 4)},
    }
    for number in range(12)
]
KINDS = ["input", "output", "cache_read", "reasoning", "request", "input_audio"]


async def chat(request):
    answer = {"object": "chat.completion", "model": "house", "choices": [], "usage": await request.json()}
    return JSONResponse(answer)


def costs_of(kinds):
    return {kind: use["cost_nanousd"] for kind, use in kinds.items() if use["cost_nanousd"]}


def told_by_usage(service, key, _):
    answer = httpx.get(f"{service.url}/v1/usage", params={"account": key.account_id}, headers=ADMIN, timeout=60).json()
    totals = answer["totals"]
    assert sum(costs_of(totals["kinds"]).values()) == totals["cost_nanousd"]
    return costs_of(totals["kinds"])


def told_by_me(service, _, token):
    answer = httpx.get(f"{service.url}/v1/me", headers={"authorization": f"Bearer {token}"}, timeout=60).json()
    return costs_of(answer["usage"]["kinds"])


def calls_of(service, key):
    answer = httpx.get(f"{service.url}/v1/calls", params={"account": key.account_id}, headers=ADMIN, timeout=60)
    return answer.json()["calls"]


def told_by_calls(service, key, _):
    costs = Counter()
    for call in calls_of(service, key):
        assert sum(call["costs_nanousd"].values()) == call["cost_nanousd"]
        costs.update(call["costs_nanousd"])
    return dict(costs)


def told_by_portal(service, key, _):
    email = "owner@acme.example"
    if not members.list_memberships(service.connection, email):
        members.create(
            service.connection, account_id=key.account_id, email=email, password=PASSWORD, role="owner", actor="test"
        )
    with httpx.Client(base_url=service.url, timeout=60) as browser:
        browser.post("/sign-in", data={"email": email, "password": PASSWORD})
        rows = csv.DictReader(io.StringIO(browser.get("/usage.csv?table=kind").text))
    costs = {row["kind"]: int(Decimal(row["cost_usd"]).scaleb(9)) for row in rows}
    return {kind: cost for kind, cost in costs.items() if cost}


def told_by_command_line(service, key, _):
    printed = io.StringIO()
    with redirect_stdout(printed):
        assert main(["usage", "--url", service.url, "--token", TOKEN, "--account", key.account_id, "-o", "json"]) == 0
    return costs_of(json.loads(printed.getvalue())["totals"]["kinds"])


def told_by_invoice(service, key, _):
    """Close the month as if it were over, and delete the invoice, so that the next test can create one too."""
    now = datetime.now(UTC)
    service.connection.execute("UPDATE account SET created_at = %s", (now,))
    closed = billing.close_periods(service.connection, now=now + timedelta(days=33))
    service.connection.execute("DELETE FROM invoice")
    return {
        line.usage_kind: line.nanousd
        for invoice in closed
        for line in invoice.lines
        if invoice.account_id == key.account_id and line.kind == "usage" and line.nanousd
    }


PLACES = [told_by_usage, told_by_me, told_by_calls, told_by_portal, told_by_command_line, told_by_invoice]


@pytest.fixture
def key_and_token(service):
    start = datetime.now(UTC) - timedelta(days=1)
    own_prices.set_price(service.connection, model="house", tiers=[RATES], valid_from=start, actor="test")
    return service.key({"name": "rpm", "unit": "request", "amount": 1000, "window_s": 60})


async def test_all_interfaces_report_the_same_costs_as_the_metrics(service, guard, visit, key_and_token):
    key, token = key_and_token
    app = guard(Starlette(routes=[Route("/chat", chat, methods=["POST"])]))
    for usage in CALLS:
        assert (await visit(app, token, "/chat", method="POST", json=usage)).status_code == 200
    deadline = time.monotonic() + 100
    while len(calls_of(service, key)) < len(CALLS) and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    expected = told_by_usage(service, key, token)
    assert list(expected) == KINDS
    assert {place.__name__: place(service, key, token) for place in PLACES} == {
        place.__name__: expected for place in PLACES
    }
    aggregator = app._process.start().aggregator

    def metered():
        aggregator.drain()
        return sum(cell.cost_nanousd for cell in aggregator.cells() if cell.series.key == key.id)

    while metered() != sum(expected.values()) and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    assert metered() == sum(expected.values())
