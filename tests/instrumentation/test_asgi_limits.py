"""Limits of tokens, routes, models and keys, dry-run and safe limits, in the middleware with a real key service."""

import asyncio
import gzip
import time

import pytest
import werkzeug.test
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

from keygauge.limits.reading.estimate import BODY_BYTES_MAX
from keygauge.weights import Weights
from keygauge.wsgi import KeyGaugeMiddleware as WsgiMiddleware
from keygauge_keyservice.accounts import plans
from keygauge_keyservice.keys import key_limits
from keygauge_keyservice.usage import quota

TPD = {"name": "tpd", "unit": "token", "amount": 10_000, "period": "day"}
USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}


async def chat(request):
    body = await request.json()
    usage = USAGE | {"completion_tokens": body["uses"] - 11, "total_tokens": body["uses"]} if "uses" in body else USAGE
    return JSONResponse({"object": "chat.completion", "model": body.get("model", "m"), "usage": usage, "choices": []})


async def silent(request):
    await request.body()
    return JSONResponse({"object": "chat.completion", "model": "m", "choices": []})


async def fail(request):
    return PlainTextResponse("no", 400)


async def echo(request):
    return PlainTextResponse(str(len(await request.body())))


def host():
    paths = {"/chat": chat, "/silent": silent, "/fail": fail, "/echo": echo, "/item/{id}": echo}
    return Starlette(routes=[Route(path, endpoint, methods=["GET", "POST"]) for path, endpoint in paths.items()])


def used(service, name):
    rows = service.connection.execute(
        "SELECT state.cells FROM limit_state AS state JOIN plan_limit "
        "ON plan_limit.id = split_part(state.id, ':', 1)::bigint WHERE name = %s",
        (name,),
    ).fetchall()
    return sum(sum(row["cells"]) for row in rows)


@pytest.mark.parametrize(
    ("path", "expected", "status"),
    [("/chat", 18, "reported"), ("/fail", 0, "none"), ("/silent", 1005, "estimated")],
)
async def test_tokens_are_reserved_then_settled(service, guard, visit, path, expected, status):
    _, token = service.key(TPD)
    app = guard(host())
    answer = await visit(app, token, path, method="POST", json={"max_tokens": 1000})
    assert answer.headers["ratelimit-policy"] == '"tpd";q=10000;qu="tokens";w=86400'
    app._process.stop()
    assert used(service, "tpd") == expected
    (event,) = service.events(1)
    assert event["usage_status"] == status


@pytest.mark.parametrize(
    ("path", "expected"), [("/chat", 100 + 11 + 4 * 7), ("/fail", 100), ("/silent", 100 + 5 + 4 * 1000)]
)
async def test_weighted_units_are_reserved_then_settled(service, guard, visit, path, expected):
    weights = Weights(request=100, input=1, output=4)
    points = {"unit": "weighted", "weights": weights, "unit_name": "points"}
    key, token = service.key({"name": "pts", "amount": 10_000, "period": "day"} | points)
    app = guard(host())
    answer = await visit(app, token, path, method="POST", json={"max_tokens": 1000})
    assert answer.headers["ratelimit-policy"] == '"pts";q=10000;qu="points";w=86400'
    app._process.stop()
    assert used(service, "pts") == expected
    if path != "/silent":
        service.events(1)
        (found,) = quota.find_quotas(service.connection, key.account_id)
        assert (found.counted, found.unit_name) == (expected, "points")


async def test_request_larger_than_the_limit_should_not_be_retried(service, guard, visit):
    _, token = service.key(TPD)
    app = guard(host())
    answer = await visit(app, token, "/chat", method="POST", json={"max_tokens": 10_001})
    assert (answer.status_code, answer.json()["code"], answer.json()["limit"]) == (400, "request_exceeds_limit", "tpd")
    assert "retry-after" not in answer.headers
    for cap in (-2, 10**12, "x"):
        answer = await visit(app, token, "/chat", method="POST", json={"max_tokens": cap})
        assert (answer.status_code, answer.json()["code"]) == (400, "bad_output_cap")
    app._process.stop()
    assert used(service, "tpd") == 0


async def test_tokens_run_out(service, guard, visit):
    _, token = service.key({**TPD, "amount": 1000})
    app = guard(host())
    codes = [
        (await visit(app, token, "/silent", method="POST", json={"max_tokens": 400})).status_code for _ in range(4)
    ]
    assert codes == [200, 200, 429, 429]


@pytest.mark.parametrize("window", [{"period": "day"}, {"window_s": 3600}])
async def test_call_refused_regardless_of_its_body_is_refused_without_reading_it(service, guard, visit, window):
    used_up = {"name": "used_up", "unit": "request", "amount": 2} | window
    _, token = service.key(used_up, {**TPD, "model": "gpt-*"})
    app = guard(host())
    asked = {"method": "POST", "headers": {"content-type": "application/json"}}
    for status in (200, 200, 429):
        assert (await visit(app, token, "/silent", json={"max_tokens": 400}, **asked)).status_code == status
    read = []

    async def chunks():
        for number in range(10):
            read.append(number)
            yield b" "

    answer = await visit(app, token, "/silent", content=chunks(), **asked)
    assert (answer.status_code, answer.json()["limit"]) == (429, "used_up")
    assert len(read) <= 1  # the start of the body, which may name the model for the ledger


@pytest.mark.parametrize("period", [{"period": "month"}, {"period": None, "window_s": 3600}])
async def test_overdrawn_limit_refuses_with_429_and_few_heartbeats(service, guard, visit, period):
    """After calls that used far more than they reserved, later calls are refused without useless heartbeats."""
    _, token = service.key({**TPD, "amount": 9_000} | period)
    app = guard(host())
    body = {"max_tokens": 10, "uses": 2_000}
    visits = [visit(app, token, "/chat", method="POST", json=body) for _ in range(20)]
    statuses = {answer.status_code for answer in await asyncio.gather(*visits)}
    assert statuses == {200, 429}
    heartbeats = []
    exchange = app._process.runtime._heartbeat._client.exchange
    app._process.runtime._heartbeat._client.exchange = lambda *sent: heartbeats.append(1) or exchange(*sent)
    began = time.monotonic()
    for _ in range(3):
        answer = await visit(app, token, "/chat", method="POST", json=body)
        assert (answer.status_code, answer.json()["limit"]) == (429, "tpd")
    assert len(heartbeats) <= 10 + 3 * (time.monotonic() - began)


async def test_bodies_reach_the_app_unchanged(service, guard, visit):
    _, token = service.key({**TPD, "amount": 10**9})
    app = guard(host())
    for size in (0, 1, 1 << 20, (1 << 20) + 1, 5_000_000):
        assert (await visit(app, token, "/echo", method="POST", content=b"x" * size)).text == str(size)

    async def stream():
        for _ in range(40):
            yield b"y" * 100_000

    assert (await visit(app, token, "/echo", method="POST", content=stream())).text == "4000000"


async def test_route_limit_counts_only_its_route(service, guard, visit):
    _, token = service.key({"name": "items", "unit": "request", "amount": 2, "period": "day", "route": "/item/{id}"})
    app = guard(host())
    codes = [(await visit(app, token, f"/item/{number}")).status_code for number in range(3)]
    assert codes == [200, 200, 429]
    assert (await visit(app, token, "/echo")).status_code == 200


async def test_model_limit_counts_only_its_model(service, guard, visit):
    _, token = service.key({"name": "big", "unit": "request", "amount": 1, "period": "day", "model": "big"})
    app = guard(host())
    models = ["big", "small", "big", "small"]
    codes = [(await visit(app, token, "/chat", method="POST", json={"model": model})).status_code for model in models]
    assert codes == [200, 200, 429, 200]


async def test_model_in_the_path_counts_even_if_the_body_names_another(service, guard, visit):
    _, token = service.key({"name": "big", "unit": "request", "amount": 1, "period": "day", "model": "big"})
    app = guard(host())
    paths = ["/v1/models/big:generate", "/v1/models/small:generate", "/v1/models/big:generate"]
    answers = [await visit(app, token, path, method="POST", json={"model": "small"}) for path in paths]
    assert [answer.status_code for answer in answers] == [404, 404, 429]


async def test_unread_body_counts_for_any_model(service, guard, visit):
    _, token = service.key({"name": "big", "unit": "request", "amount": 3, "period": "day", "model": "big"})
    app = guard(host())
    body = b'{"model": "big"}'
    bodies = [b" " * BODY_BYTES_MAX + body, gzip.compress(body), b"model=big", body, b'{"model": "small"}']
    answers = [await visit(app, token, method="POST", content=sent) for sent in bodies]
    assert [answer.status_code == 429 for answer in answers] == [False, False, False, True, False]


async def test_key_can_have_tighter_limits(service, guard, visit):
    account = service.account({"name": "daily", "unit": "request", "amount": 100, "period": "day"})
    tight, tight_token = service.key(account=account)
    _, other_token = service.key(account=account)
    own = plans.Limit(name="own", unit="request", amount=1, period="day", subject="key")
    key_limits.replace(service.connection, tight.id, [own], actor="test")
    app = guard(host())
    assert [(await visit(app, tight_token, "/echo")).status_code for _ in range(2)] == [200, 429]
    assert [(await visit(app, other_token, "/echo")).status_code for _ in range(2)] == [200, 200]


async def test_monthly_token_limits_of_account_key_route_and_model_combine(service, guard, visit):
    monthly = {"unit": "token", "period": "month"}
    account = service.account(
        monthly | {"name": "all", "amount": 10_000},
        monthly | {"name": "chat", "amount": 5_000, "route": "/chat"},
        monthly | {"name": "big", "amount": 100, "model": "big"},
    )
    tight, tight_token = service.key(account=account)
    _, token = service.key(account=account)
    own = plans.Limit(name="mine", unit="token", amount=60, period="month", subject="key")
    key_limits.replace(service.connection, tight.id, [own], actor="test")
    app = guard(host())

    async def call(token, model):
        return await visit(app, token, "/chat", method="POST", json={"model": model, "max_tokens": 10})

    answers = [await call(tight_token, "small") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    refused = answers[-1].json()
    assert (refused["code"], refused["limit"], refused["limit_of"]) == ("quota_exhausted", "mine", "key")
    assert refused["detail"].endswith("is this key's own. The account's owner can change it in the portal.")
    assert [(await call(token, "big")).status_code for _ in range(6)] == [200] * 5 + [429]
    assert (await call(token, "small")).status_code == 200
    app._process.stop()
    calls = {"all": 9, "chat": 9, "big": 5, "mine": 3}  # refused calls use nothing of any limit
    assert {name: used(service, name) for name in calls} == {name: 18 * count for name, count in calls.items()}


async def test_dry_run_limit_refuses_no_call_and_counts_would_be_refusals(service, guard, visit):
    _, token = service.key({"name": "trial", "unit": "request", "amount": 2, "period": "day", "dry_run": True})
    app = guard(host())
    deadline = time.monotonic() + 100
    seen = set()
    while ("would_limit", "trial") not in seen and time.monotonic() < deadline:
        answer = await visit(app, token, "/echo")
        assert answer.status_code == 200
        assert "ratelimit-policy" not in answer.headers
        seen = {(cell.series.outcome, cell.series.limit) for cell in app._process.runtime.aggregator.cells()}
    assert ("would_limit", "trial") in seen


async def test_safe_limit_admits_a_share_during_an_outage(service, guard, visit):
    _, token = service.key(
        {"name": "rpm", "unit": "request", "amount": 40, "window_s": 1, "when_down": "safe"},
        {"name": "daily", "unit": "request", "amount": 10**6, "period": "day", "when_down": "safe"},
    )
    app = guard(host(), wait_s=0.25)
    for _ in range(5):
        assert (await visit(app, token, "/echo")).status_code == 200
    service.down()
    runtime = app._process.runtime
    deadline = time.monotonic() + 100
    while not runtime._heartbeat.admission.away and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.3)  # until the rate limit's leases expire
    assert (await visit(app, token, "/echo")).status_code == 200
    assert any(cell.series.outcome == "degraded" for cell in runtime.aggregator.cells())


@pytest.mark.parametrize("limit", [TPD, {"name": "rpm", "unit": "request", "amount": 600, "window_s": 60}])
async def test_no_call_is_refused_after_the_process_was_paused(service, guard, visit, limit):
    _, token = service.key(limit)
    app = guard(host())
    chat = {"path": "/chat", "method": "POST", "json": {}}
    assert (await visit(app, token, **chat)).status_code == 200
    app._process.runtime._heartbeat.admission.authority_ns = 0  # as after a pause of more than 10 s
    answers = await asyncio.gather(*[visit(app, token, **chat) for _ in range(8)])
    assert [answer.status_code for answer in answers] == [200] * 8


@pytest.mark.parametrize(("length", "status"), [(1000, 200), (10_001, 400), (-2, 400)])
async def test_tokens_are_limited_in_wsgi_apps_too(service, length, status, tmp_path):
    _, token = service.key(TPD)
    seen = []

    def app(environ, start_response):
        seen.append(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
        start_response("200 OK", [("Content-Type", "application/json")])
        return [b'{"object": "chat.completion", "model": "m", "usage": {"prompt_tokens": 3, "completion_tokens": 4}}']

    options = {"service_token": "test-service-token-0123456789", "spool_dir": tmp_path / "spool", "wait_s": 5.0}
    guarded = WsgiMiddleware(app, service_url=service.url, **options)
    body = f'{{"max_tokens": {length}}}'.encode()
    headers = {"Authorization": f"Bearer {token}"}
    answer = await asyncio.to_thread(werkzeug.test.Client(guarded).post, "/chat", data=body, headers=headers)
    assert answer.status_code == status
    answer.close()
    guarded._process.stop()
    assert seen == ([body] if status == 200 else [])
    assert used(service, "tpd") == (7 if status == 200 else 0)


async def test_each_end_user_has_the_whole_limit_for_any_name(service, guard, visit):
    _, token = service.key({"name": "each", "unit": "request", "amount": 2, "period": "day", "per_tag": True})
    app = guard(host(), tag="header:X-End-User")
    named = ["ada", "Ada", "zoë", "用户", "%00", "a:b", "'; DROP TABLE", "x" * 128]
    nobody = [None, "", " ", "\x07", "\x7f", "a\x0bb", "y" * 129, "_other", token, f"Bearer {token}"]

    async def call(tag):
        headers = {} if tag is None else {b"X-End-User": tag.encode()}
        return await visit(app, token, "/echo", headers=headers)

    for tag in named:
        answers = [await call(tag) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429], tag
    assert answers[1].headers["ratelimit"].startswith('"each";r=0;')
    problem = answers[2].json()
    assert (problem["limit"], problem["limit_of"], problem["code"]) == ("each", "tag", "quota_exhausted")
    assert "this end user alone" in problem["detail"]
    answers = [await call(tag) for tag in nobody]
    assert [answer.status_code for answer in answers] == [200, 200, *[429] * (len(nobody) - 2)]
    assert answers[-1].json()["limit_of"] == "untagged"
    app._process.stop()
    assert used(service, "each") == 2 * (len(named) + 1)


@pytest.mark.parametrize(
    "terms", [{"unit": "concurrent", "amount": 1}, {"unit": "token", "amount": 30, "period": "day"}]
)
async def test_slots_and_tokens_can_be_limited_per_end_user(service, guard, visit, terms):
    _, token = service.key({"name": "each", "per_tag": True, **terms})
    entered, leave = asyncio.Event(), asyncio.Event()

    async def slow(request):
        await request.body()
        if request.headers["x-end-user"] == "ada" and terms["unit"] == "concurrent":
            entered.set()
            await leave.wait()
        return JSONResponse({"object": "chat.completion", "model": "m", "usage": USAGE, "choices": []})

    app = guard(Starlette(routes=[Route("/chat", slow, methods=["POST"])]), tag="header:X-End-User")

    def call(tag):
        headers = {"x-end-user": tag}
        return visit(app, token, "/chat", method="POST", json={"max_tokens": 10}, headers=headers)

    if terms["unit"] == "concurrent":
        first = asyncio.create_task(call("ada"))
        await entered.wait()
    else:
        assert [(await call("ada")).status_code for _ in range(1)] == [200]  # 18 of 30 tokens
    refused = await call("ada")
    assert refused.status_code == 429
    assert refused.json()["limit_of"] == "tag"
    assert (await call("bob")).status_code == 200
    leave.set()
    if terms["unit"] == "concurrent":
        assert (await first).status_code == 200
        assert (await call("ada")).status_code == 200
