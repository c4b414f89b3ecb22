"""Budgets with the middleware and a real key service: cost is reserved before a call and settled after it."""

import asyncio
import json
import time
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

from keygauge.pricing.rates import Rates
from keygauge_keyservice.accounts import plans
from keygauge_keyservice.keys import key_limits
from keygauge_keyservice.pricing import own_prices

START = datetime.now(UTC) - timedelta(days=1)
DOLLAR = 10**9
USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
COST = 11 * 1000 + 7 * 2000  # nano-USD, USAGE at the price of "m"


def budget(amount, **terms):
    return {"name": "budget", "unit": "nanousd", "amount": amount, "period": "month"} | terms


async def chat(request):
    body = await request.json()
    answer = {"object": "chat.completion", "model": body.get("answers_as", body["model"]), "choices": []}
    await asyncio.sleep(0.05)
    return JSONResponse(answer if body.get("silent") else answer | {"usage": body.get("usage", USAGE)})


async def fail(request):
    return PlainTextResponse("no", 400)


async def files(request):
    return PlainTextResponse("ok")


def host():
    paths = {"/chat": chat, "/fail": fail, "/files": files}
    return Starlette(routes=[Route(path, endpoint, methods=["GET", "POST"]) for path, endpoint in paths.items()])


@pytest.fixture
def price(service):
    def price(rate=10**9, **terms):
        tiers = [Rates(-1, rate, 2 * rate, rate, rate, 2 * rate, 0)]
        terms = {"model": "m", "valid_from": START} | terms
        return own_prices.set_price(service.connection, tiers=tiers, actor="test", **terms)

    return price


def used(service, name="budget"):
    rows = service.connection.execute(
        "SELECT state.cells FROM limit_state AS state JOIN plan_limit "
        "ON plan_limit.id = split_part(state.id, ':', 1)::bigint WHERE name = %s",
        (name,),
    ).fetchall()
    return sum(sum(row["cells"]) for row in rows)


def ledger(service, count):
    return sum(event["cost_nanousd"] or 0 for event in service.events(count))


@pytest.mark.parametrize(
    ("path", "body", "expected", "status"),
    [
        ("/chat", {"model": "m", "max_tokens": 1000}, COST, "reported"),
        ("/chat", {"model": "m"}, COST, "reported"),
        ("/fail", {"model": "m", "max_tokens": 1000}, 0, "none"),
        # the 40 bytes of the body are 10 input tokens
        ("/chat", {"model": "m", "max_tokens": 50, "silent": 1}, 10 * 1000 + 50 * 2000, "estimated"),
        # without a price, the reservation stays charged: the minimum, or 46 bytes of input and the whole cap
        ("/chat", {"model": "unpriced", "max_tokens": 1000}, 1, "reported"),
        ("/chat", {"model": "unpriced", "answers_as": "m"}, COST, "reported"),
        ("/chat", {"model": "m", "max_tokens": 9, "answers_as": "no"}, 12 * 1000 + 9 * 2000, "reported"),
        ("/files", {}, 1, "none"),
    ],
)
async def test_cost_is_reserved_then_settled_as_in_the_ledger(
    service, guard, visit, price, path, body, expected, status
):
    price()
    _, token = service.key(budget(DOLLAR))
    app = guard(host())
    assert (await visit(app, token, path, method="POST", json=body)).status_code in {200, 400}
    app._process.stop()
    assert used(service) == expected
    (event,) = service.events(1)
    assert event["usage_status"] == status
    assert status != "reported" or event["cost_nanousd"] in {expected, None}


@pytest.mark.parametrize(
    ("model", "cents"),
    [("deepseek-chat", 10), ("grok-4", 200), ("gemini-2.5-flash", 50), ("kimi-k2", 50), ("openai/gpt-4o", 200)],
)
async def test_a_budget_is_enforced_for_every_provider_of_a_model(service, guard, visit, model, cents):
    amount = cents * DOLLAR // 100
    _, token = service.key(budget(amount))
    app = guard(host())
    used_up = {"prompt_tokens": 10, "completion_tokens": 20_000, "total_tokens": 20_010}
    body = {"model": model, "max_tokens": 20_000, "usage": used_up}
    answers = [await visit(app, token, "/chat", method="POST", json=body) for _ in range(40)]
    assert {answer.status_code for answer in answers} == {200, 429}
    app._process.stop()
    assert 0 < ledger(service, 40) <= used(service) <= amount


async def test_calls_under_a_budget_without_a_price_are_counted(service, guard, visit, price):
    price()
    key, token = service.key(budget(DOLLAR, route="/chat"))
    app = guard(host())
    for model in ("m", "unpriced", "unpriced"):
        await visit(app, token, "/chat", method="POST", json={"model": model, "max_tokens": 10})
    await visit(app, token, "/fail", method="POST", json={"model": "unpriced"})
    aggregator = app._process.runtime.aggregator
    app._process.stop()
    counts = Counter()  # a failed call counts for the requested model
    for cell in aggregator.cells():
        if cell.series.key == key.id:
            counts[cell.series.model] += cell.unpriced
    assert counts == {"m": 0, "unpriced": 2}


async def test_reservations_never_overdraw_a_budget(service, guard, visit, price):
    price()
    amount = 5 * COST + COST // 2
    key, token = service.key(budget(amount))
    app = guard(host())
    body = {"model": "m", "max_tokens": 7, "usage": USAGE}  # 19 input tokens are reserved, 11 are used
    answers = [await visit(app, token, "/chat", method="POST", json=body) for _ in range(9)]
    codes = [answer.status_code for answer in answers]
    assert 200 in codes
    refused = answers[-1]
    assert (refused.status_code, refused.json()["code"], refused.json()["limit"]) == (429, "budget_exhausted", "budget")
    assert "retry-after" in refused.headers
    assert (await visit(app, token, "/files")).status_code == 200  # a free call takes the minimum
    app._process.stop()
    events = service.events(10)
    assert sum(event["cost_nanousd"] or 0 for event in events) <= used(service) <= amount
    assert {event["outcome"] for event in events} == {"admitted", "quota"}
    assert events[0]["key_id"] == key.id


async def test_concurrent_calls_cannot_overdraw(service, guard, visit, price):
    price()
    _, token = service.key(budget(4 * 50_000))
    app = guard(host())
    body = {"model": "m", "max_tokens": 10}  # at most 9 input and 10 output tokens
    answers = await asyncio.gather(*[visit(app, token, "/chat", method="POST", json=body) for _ in range(20)])
    admitted = sum(answer.status_code == 200 for answer in answers)
    assert 1 <= admitted <= 4 * 50_000 // (10 * 2000)
    app._process.stop()
    assert used(service) <= 4 * 50_000


def burst(visit, app, token, bodies):
    usual = {"max_tokens": 7, "answers_as": "m"}
    calls = [visit(app, token, "/chat", method="POST", json=usual | one) for one in bodies]
    return asyncio.gather(*calls)


@pytest.mark.parametrize(
    "bodies",
    [
        [{"model": "my-fast-model"}] * 40,
        [{"model": f"invented-{number}"} for number in range(40)],
        [{"model": None}] * 40,
    ],
    ids=["alias", "invented", "nameless"],
)
async def test_a_burst_of_names_without_a_price_reserves_the_cost_of_the_route(service, guard, visit, price, bodies):
    price()
    amount = 7 * COST + COST // 2
    _, token = service.key(budget(amount))
    app = guard(host())
    await burst(visit, app, token, [{"model": "m"}])
    codes = [answer.status_code for answer in await burst(visit, app, token, bodies)]
    assert set(codes) <= {200, 429}
    assert 1 <= codes.count(200) <= 6
    app._process.stop()
    assert used(service) == (1 + codes.count(200)) * COST == ledger(service, 41)


async def test_calls_to_an_answered_name_reserve_what_they_may_cost(service, guard, visit, price):
    price()
    _, token = service.key(budget(7 * 28_000))  # 14 input and 7 output tokens
    app = guard(host())
    alias = {"model": "alias"}
    for number, expected in ((1, 1), (6, 6), (2, 0)):
        answers = await burst(visit, app, token, number * [alias])
        assert [answer.status_code for answer in answers].count(200) == expected
    assert {answer.json()["code"] for answer in answers} == {"budget_exhausted"}


async def test_models_without_a_price_are_not_charged_the_cost_of_their_route(service, guard, visit, price):
    price()
    _, token = service.key(budget(DOLLAR))
    app = guard(host())
    await burst(visit, app, token, [{"model": "m"}])
    own = {"model": "own", "answers_as": "own"}
    assert {answer.status_code for answer in await burst(visit, app, token, [own] * 9)} == {200}
    app._process.stop()
    assert used(service) == COST + 9


async def test_models_without_a_price_are_admitted_at_once(service, guard, visit, price):
    _, token = service.key(budget(DOLLAR))
    app = guard(host())
    bodies = [{"model": "own", "answers_as": "own", "max_tokens": 1500}] * 40
    assert {answer.status_code for answer in await burst(visit, app, token, bodies)} == {200}
    app._process.stop()
    assert used(service) == 40


async def test_a_call_larger_than_the_whole_budget_has_no_retry_time(service, guard, visit, price):
    price()
    _, token = service.key(budget(COST))
    app = guard(host())
    answer = await visit(app, token, "/chat", method="POST", json={"model": "m", "max_tokens": 1_000_000})
    assert (answer.status_code, answer.json()["code"]) == (400, "request_exceeds_limit")
    for absurd in (10**18, -5):
        answer = await visit(app, token, "/chat", method="POST", json={"model": "m", "max_tokens": absurd})
        assert (answer.status_code, answer.json()["code"]) == (400, "bad_output_cap")
    app._process.stop()
    assert used(service) == 0


async def test_a_budget_may_refuse_models_without_a_price(service, guard, visit, price):
    price()
    _, token = service.key(budget(DOLLAR, when_unpriced="refuse"))
    app = guard(host())
    body = {"model": "made-up", "max_tokens": 5}
    answer = await visit(app, token, "/chat", method="POST", json=body)
    assert (answer.status_code, answer.json()["code"], answer.json()["limit"]) == (403, "price_unknown", "budget")
    assert (await visit(app, token, "/chat", method="POST", json=body | {"model": "m"})).status_code == 200
    assert (await visit(app, token, "/files")).status_code == 200
    nameless = await visit(app, token, "/chat", method="POST", json={"max_tokens": 5})
    assert (nameless.status_code, nameless.json()["code"]) == (403, "price_unknown")  # the app would choose the model
    price(model="made-up")
    await asyncio.sleep(2.2)
    assert (await visit(app, token, "/chat", method="POST", json=body)).status_code == 200


async def test_all_scopes_are_charged_together(service, guard, visit, price):
    price()
    account = service.account(
        budget(DOLLAR, name="account"),
        budget(DOLLAR, name="by_key", subject="key", period="day"),
        budget(DOLLAR, name="chat", route="/chat"),
        budget(DOLLAR, name="elsewhere", route="/files"),
        budget(DOLLAR, name="model", model="m"),
        budget(DOLLAR, name="other", model="gpt-4o"),
        {"name": "tpm", "unit": "token", "amount": 10_000, "window_s": 60},
    )
    one, token = service.key(account=account)
    _, other_token = service.key(account=account)
    own = plans.Limit(name="own", unit="nanousd", amount=DOLLAR, period="day", subject="key")
    key_limits.replace(service.connection, one.id, [own], actor="test")
    app = guard(host())
    for sent in (token, token, other_token):
        body = {"model": "m", "max_tokens": 100}
        assert (await visit(app, sent, "/chat", method="POST", json=body)).status_code == 200
    app._process.stop()
    names = ("account", "by_key", "chat", "elsewhere", "model", "other", "own")
    expected = (3 * COST, 3 * COST, 3 * COST, 0, 3 * COST, 0, 2 * COST)
    assert tuple(used(service, name) for name in names) == expected
    assert used(service, "tpm") == 3 * 18


async def test_an_account_pays_its_custom_price(service, guard, visit, price):
    price()
    key, token = service.key(budget(DOLLAR))
    price(rate=3 * 10**9, account_id=key.account_id)
    app = guard(host())
    await visit(app, token, "/chat", method="POST", json={"model": "m", "max_tokens": 100})
    app._process.stop()
    assert used(service) == 3 * COST == ledger(service, 1)


async def test_a_dry_run_budget_refuses_nobody(service, guard, visit, price):
    price()
    _, token = service.key(budget(COST, dry_run=True))
    app = guard(host())
    for _ in range(4):
        answer = await visit(app, token, "/chat", method="POST", json={"model": "m", "max_tokens": 10_000})
        assert answer.status_code == 200
    app._process.stop()
    assert {event["outcome"] for event in service.events(4)} == {"would_limit"}


def test_budgets_apply_to_wsgi_apps(service, guard_wsgi, visit_wsgi, price):
    price()
    _, token = service.key(budget(DOLLAR), budget(COST, name="small", route="/none"))

    def host(environ, start_response):
        environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        start_response("200 OK", [("content-type", "application/json")])
        return [json.dumps({"object": "chat.completion", "model": "m", "choices": [], "usage": USAGE}).encode()]

    app = guard_wsgi(host)
    sent = {"model": "m", "max_tokens": 100}
    assert visit_wsgi(app, token, "/chat", method="POST", json=sent).status_code == 200
    answer = visit_wsgi(app, token, "/chat", method="POST", json=sent | {"max_tokens": 10**6})
    assert (answer.status_code, answer.json()["code"]) == (400, "request_exceeds_limit")
    app._process.stop()
    assert (used(service), used(service, "small")) == (COST, 0)


async def test_the_cost_waits_for_a_price_from_the_next_heartbeat(service, guard, visit, price):
    price()
    price(rate=5 * 10**9, provider="openai", model="m-2026")
    _, token = service.key(budget(DOLLAR))
    app = guard(host())
    body = {"model": "m", "max_tokens": 100, "answers_as": "m-2026"}
    await visit(app, token, "/chat", method="POST", json=body)
    (lease_pool,) = app._process.runtime.authorizer._admission.held
    deadline = time.monotonic() + 100
    while any(lease.reserved for lease in lease_pool.leases) and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    assert not any(lease.reserved for lease in lease_pool.leases)
    app._process.stop()
    assert used(service) == ledger(service, 1) > 0
