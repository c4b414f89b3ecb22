"""The ASGI middleware around small apps, with a real key service."""

import asyncio
import json
import time
from datetime import UTC, datetime

import httpx
import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route

from keygauge import current, key
from keygauge.asgi import KeyGaugeMiddleware
from keygauge.settings.settings import SettingsError
from keygauge.spool.segment import segments
from keygauge.spool.spool import Spool
from keygauge_keyservice.accounts import accounts
from keygauge_keyservice.keys import keys, rotation

CHAT = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "gpt-4o-mini",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
}
CHUNKS = [
    {
        "model": "gpt-4o-mini",
        "object": "chat.completion.chunk",
        "choices": [{"delta": {"content": "H"}}],
        "usage": None,
    },
    {"model": "gpt-4o-mini", "object": "chat.completion.chunk", "choices": [], "usage": CHAT["usage"]},
]


RPM = {"name": "rpm", "unit": "request", "amount": 1000, "window_s": 60}
MONTHLY = {"name": "monthly_requests", "unit": "request", "amount": 100_000, "period": "month"}


async def hello(request):
    return PlainTextResponse("hello")


async def chat(request):
    return JSONResponse(CHAT)


async def stream(request):
    async def events():
        for chunk in CHUNKS:
            yield f"data: {json.dumps(chunk)}\n\n"
        yield "data: [DONE]\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")


async def echo(request):
    return PlainTextResponse(str(len(await request.body())))


async def fail(request):
    raise RuntimeError("before the start")


async def break_off(request):
    async def events():
        yield f"data: {json.dumps(CHUNKS[0])}\n\n"
        raise RuntimeError("after the start")

    return StreamingResponse(events(), media_type="text/event-stream")


async def state_usage(request):
    current().record_usage(input_tokens=5, output_tokens=2, model="own")
    current().record_usage(output_tokens=3)
    return PlainTextResponse("stated")


async def work_on(request):
    return PlainTextResponse("done", background=BackgroundTask(asyncio.sleep, 0.2))


ROUTES = [
    Route("/hello", hello),
    Route("/hello/{name}", hello),
    Route("/chat", chat, methods=["POST"]),
    Route("/stream", stream, methods=["POST"]),
    Route("/echo", echo, methods=["POST"]),
    Route("/fail", fail),
    Route("/break", break_off),
    Route("/usage", state_usage),
    Route("/background", work_on),
    Route("/healthz", hello),
    Mount("/mounted/{tenant}", routes=[Route("/things/{id}", hello)]),
]


def host():
    return Starlette(routes=ROUTES)


async def settled(service, count):
    return await asyncio.to_thread(service.events, count)


async def test_valid_key_is_admitted_and_its_call_reaches_the_ledger(service, guard, visit):
    made, token = service.key()
    answer = await visit(guard(host()), token, "/hello/ann")
    assert (answer.status_code, answer.text) == (200, "hello")
    (event,) = await settled(service, 1)
    assert event["key_id"] == made.id
    assert event["account_id"] == made.account_id
    assert (event["route"], event["method"], event["status"]) == ("/hello/{name}", "GET", 200)
    assert (event["outcome"], event["error"], event["response_bytes"]) == ("admitted", None, 5)
    assert event["duration_us"] > 0


async def test_admitted_answers_have_rate_limit_headers(service, guard, visit):
    _, token = service.key()
    headers = (await visit(guard(host()), token)).headers
    assert headers["ratelimit-policy"] == '"rpm";q=1000;w=60, "monthly_requests";q=100000;w=2592000'
    assert headers["ratelimit"].startswith('"rpm";r=')
    assert headers["x-ratelimit-limit-requests"] == "1000"
    assert headers["x-ratelimit-remaining-requests"] == "999"  # a single process knows the exact number


@pytest.mark.parametrize("path", ["/chat", "/stream"])
async def test_usage_is_read_from_the_answer(service, guard, visit, path):
    _, token = service.key()
    answer = await visit(guard(host()), token, path, method="POST", content=b"{}")
    assert answer.status_code == 200
    (event,) = await settled(service, 1)
    assert (event["input_tokens"], event["output_tokens"], event["usage_status"]) == (11, 7, "reported")
    assert (event["model"], event["provider"]) == ("gpt-4o-mini", "openai")
    assert event["stream"] == ("sse" if path == "/stream" else None)


async def test_usage_recorded_by_the_app_adds_up(service, guard, visit):
    _, token = service.key()
    await visit(guard(host()), token, "/usage")
    (event,) = await settled(service, 1)
    assert (event["input_tokens"], event["output_tokens"], event["model"]) == (5, 5, "own")


def malformed():
    good = key.generate("live")
    wrong = good[:-1] + ("0" if good[-1] != "0" else "1")
    return {
        "garbage": "sk-1234",
        "checksum": wrong,
        "long": "x" * 8000,
        "not ascii": "ké".encode("latin-1").decode("latin-1"),
    }


@pytest.mark.parametrize("token", malformed().values(), ids=malformed().keys())
async def test_malformed_key_is_refused_without_a_lookup(service, guard, visit, token):
    app = guard(host())
    service.down()  # so that a lookup would end in 503
    answer = await visit(app, headers={"authorization": f"Bearer {token}".encode("latin-1")})
    assert answer.status_code == 401
    assert answer.json()["code"] == "key_invalid"


async def test_missing_key_error_says_where_to_send_it(guard, visit):
    answer = await visit(guard(host()))
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.json()["code"] == "key_missing"


async def test_keys_are_indistinguishable_without_their_secret(service, guard, visit):
    app = guard(host())
    disabled, _ = service.key()
    keys.set_status(service.connection, disabled.id, "disabled", actor="test")
    deleted, _ = service.key()
    keys.delete(service.connection, deleted.id, actor="test")
    active, _ = service.key()
    wrong_secrets = [key.generate("live", one.id) for one in (disabled, deleted, active)]
    answers = [await visit(app, token) for token in (*wrong_secrets, key.generate("live"))]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.content for answer in answers}) == 1
    assert len({tuple(answer.headers.items()) for answer in answers}) == 1


@pytest.mark.parametrize("header", ["x-api-key", "api-key", "x-goog-api-key"])
async def test_key_is_found_in_every_usual_header(service, guard, visit, header):
    _, token = service.key()
    assert (await visit(guard(host()), headers={header: token})).status_code == 200


async def test_two_different_credentials_are_refused(service, guard, visit):
    app = guard(host())
    _, one = service.key()
    _, two = service.key()
    answer = await visit(app, one, headers={"x-api-key": two})
    assert (answer.status_code, answer.json()["code"]) == (400, "key_conflict")
    assert (await visit(app, one, headers={"x-api-key": one})).status_code == 200


async def test_rate_limit_refusal_has_the_fields_a_client_needs(service, guard, visit):
    app = guard(host())
    _, token = service.key({**RPM, "amount": 3})
    answers = [await visit(app, token) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    refused = answers[-1]
    assert refused.json()["code"] == "rate_limited"
    assert (refused.json()["limit"], refused.json()["limit_of"]) == ("rpm", "account")
    assert "counts all keys of your account" in refused.json()["detail"]
    assert 1 <= int(refused.headers["retry-after"]) <= 64
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    events = await settled(service, 5)
    assert [event["outcome"] for event in events] == ["admitted"] * 3 + ["limited"] * 2
    assert {event["route"] for event in events} == {"/hello"}
    assert events[-1]["limit_name"] == "rpm"


async def test_exhausted_lifetime_limit_says_so_and_gives_no_retry_time(service, guard, visit):
    app = guard(host())
    _, token = service.key({"name": "trial", "unit": "request", "amount": 2, "period": "lifetime"})
    answers = [await visit(app, token) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[-1].headers["x-should-retry"] == "false"
    assert "retry-after" not in answers[-1].headers
    assert answers[-1].headers["ratelimit"] == '"trial";r=0'
    assert (answers[-1].json()["code"], answers[-1].json()["detail"][:27]) == (
        "quota_exhausted",
        "This limit does not reset. ",
    )


@pytest.mark.parametrize(
    ("limit", "code"),
    [
        ({"unit": "request", "window_s": 60}, "rate_limited"),
        ({"unit": "token", "window_s": 60}, "rate_limited"),
        ({"unit": "request", "period": "day"}, "quota_exhausted"),
        ({"unit": "concurrent"}, "concurrency_limited"),
    ],
)
async def test_limit_of_zero_says_that_waiting_does_not_help(service, guard, visit, limit, code):
    app = guard(host())
    _, token = service.key({"name": "none", "amount": 0, **limit})
    answer = await visit(app, token)
    assert (answer.status_code, answer.json()["code"], answer.json()["limit"]) == (429, code, "none")
    assert answer.headers["x-should-retry"] == "false"
    assert "retry-after" not in answer.headers
    assert answer.json()["detail"].startswith('This limit is 0 and allows no calls. The limit "none" ')


async def test_exhausted_quota_should_not_be_retried(service, guard, visit):
    app = guard(host())
    _, token = service.key({**MONTHLY, "amount": 2})
    answers = [await visit(app, token) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[-1].json()["code"] == "quota_exhausted"
    if int(answers[-1].headers["retry-after"]) > 60:  # not in the last minute of a month
        assert answers[-1].headers["x-should-retry"] == "false"


@pytest.mark.parametrize(
    ("act", "code"), [("disable", "key_disabled"), ("delete", "key_deleted"), ("suspend", "account_suspended")]
)
async def test_revoked_key_is_refused_after_about_one_heartbeat(service, guard, visit, act, code):
    app = guard(host())
    made, token = service.key()
    assert (await visit(app, token)).status_code == 200
    if act == "disable":
        keys.set_status(service.connection, made.id, "disabled", actor="test")
    elif act == "delete":
        keys.delete(service.connection, made.id, actor="test")
    else:
        accounts.set_status(service.connection, made.account_id, "suspended", actor="test")
    deadline = time.monotonic() + 100
    while (await visit(app, token)).status_code == 200 and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    answer = await visit(app, token)
    assert (answer.status_code, answer.json()["code"]) == (401, code)
    events = await settled(service, 3)
    assert (events[0]["outcome"], events[-1]["outcome"]) == ("admitted", "revoked")
    assert {event["key_id"] for event in events} == {made.id}


@pytest.mark.parametrize("code", ["key_disabled", "key_deleted", "account_suspended", "key_expired"])
async def test_refusal_reason_is_given_to_callers_with_the_right_secret(service, guard, visit, code):
    made, token = service.key()
    if code == "key_expired":
        keys.change(service.connection, made.id, actor="test", expires_at=datetime(2020, 1, 1, tzinfo=UTC))
    elif code == "key_deleted":
        keys.delete(service.connection, made.id, actor="test")
    elif code == "key_disabled":
        keys.set_status(service.connection, made.id, "disabled", actor="test")
    else:
        accounts.set_status(service.connection, made.account_id, "suspended", actor="test")
    answer = await visit(guard(host()), token)
    assert (answer.status_code, answer.json()["code"]) == (401, code)
    assert answer.headers["www-authenticate"].endswith('error="invalid_token"')
    ask = {"url": f"{service.url}/v1/me", "headers": {"authorization": f"Bearer {token}"}}
    told = await asyncio.to_thread(httpx.get, **ask)
    assert (told.status_code, told.json()["code"]) == (401, code)


async def test_a_replaced_secret_is_told_apart_from_a_wrong_one(service, guard, visit):
    made, token = service.key()
    given = {"peppers": service.peppers, "rotation_id": "1", "actor": "test"}
    rotated = rotation.rotate(service.connection, made.id, **given)
    for app in (guard(host()), guard(host())):
        answer = await visit(app, token)
        assert (answer.status_code, answer.json()["code"]) == (401, "key_replaced")
        assert (await visit(app, key.generate("live", made.id))).json()["code"] == "key_invalid"
        assert (await visit(app, rotated.token)).status_code == 200
        assert (await visit(app, token)).json()["code"] == "key_replaced"


async def test_enabled_key_works_again(service, guard, visit):
    app = guard(host())
    made, token = service.key()
    keys.set_status(service.connection, made.id, "disabled", actor="test")
    assert (await visit(app, token)).status_code == 401
    keys.set_status(service.connection, made.id, "active", actor="test")
    deadline = time.monotonic() + 100
    while (await visit(app, token)).status_code == 401 and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    assert (await visit(app, token)).status_code == 200


async def test_host_exception_propagates_and_is_counted(service, guard, visit):
    _, token = service.key()
    app = guard(host())
    assert (await visit(app, token, "/fail")).status_code == 500
    with pytest.raises(RuntimeError, match="before the start"):
        await call(guard(fail_bare), token)
    first, second = await settled(service, 2)
    assert (first["status"], first["error"]) == (500, "500")  # Starlette answered
    assert (second["status"], second["error"]) == (500, "RuntimeError")


async def fail_bare(scope, receive, send):
    if scope["type"] == "http":
        raise RuntimeError("before the start")


async def test_exception_during_a_stream_propagates_and_is_counted(service, guard):
    made, token = service.key()
    app = guard(host())
    with pytest.raises(RuntimeError, match="after the start"):
        await call(app, token, "/break")
    (event,) = await settled(service, 1)
    cells = [cell.series for cell in app._process.runtime.aggregator.cells()]
    assert {(series.status, series.error) for series in cells if series.key == made.id} == {(500, "RuntimeError")}
    assert (event["status"], event["error"], event["stream"]) == (500, "RuntimeError", "sse")
    assert (event["usage_status"], event["output_tokens"]) == ("estimated", event["messages"])


@pytest.mark.parametrize(
    "last",
    [
        b'data: {"error": {"message": "overloaded", "type": "server_error"}}\n\ndata: [DONE]\n\n',
        b'event: error\ndata: {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}\n\n',
        b'event: error\ndata: {"type":"error","code":"server_error","message":"x","param":null}\n\n',
    ],
)
async def test_stream_with_an_error_event_has_failed(service, guard, last):
    _, token = service.key()

    async def stream_bare(scope, receive, send):
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for chunk in [b'data: {"error": null, "choices": []}\n\n'] * 9 + [last]:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    await call(guard(stream_bare), token)
    (event,) = await settled(service, 1)
    assert (event["status"], event["error"]) == (500, "stream_error")


async def test_interrupted_stream_keeps_its_reserved_tokens(service, guard):
    _, token = service.key({"name": "tpm", "unit": "token", "amount": 1000, "window_s": 60})
    app = guard(host())
    with pytest.raises(RuntimeError, match="after the start"):
        await call(app, token, "/break")
    (event,) = await settled(service, 1)
    assert (event["status"], event["usage_status"]) == (500, "estimated")


async def test_client_disconnect_before_the_answer_is_a_499(service, guard):
    _, token = service.key()

    async def late(scope, receive, send):
        await receive()
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    await call(guard(late), token, then={"type": "http.disconnect"})
    (event,) = await settled(service, 1)
    assert (event["status"], event["error"]) == (499, "client_disconnected")


async def test_failed_send_to_a_disconnected_client_is_not_an_app_error(service, guard):
    _, token = service.key()

    async def send(message):
        if message["type"] == "http.response.body":
            raise OSError("gone")

    with pytest.raises(ClientDisconnect):
        await call(guard(host()), token, "/break", send=send)
    (event,) = await settled(service, 1)
    assert (event["status"], event["error"]) == (200, "client_disconnected")


async def test_client_disconnect_is_settled(service, guard):
    _, token = service.key()
    started = asyncio.Event()

    async def endless(scope, receive, send):
        if scope["type"] == "http":
            headers = [(b"content-type", b"text/event-stream")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            chunk = f"data: {json.dumps(CHUNKS[1])}\n\n".encode()
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            started.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(call(guard(endless), token))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (event,) = await settled(service, 1)
    assert (event["status"], event["error"]) == (500, "CancelledError")
    assert (event["input_tokens"], event["output_tokens"]) == (11, 7)


@pytest.mark.parametrize("last", [b"data: [DONE]\n\n", b'event: message_stop\ndata: {"type":"message_stop"}\n\n'])
async def test_stream_is_in_the_spool_before_its_final_event(service, guard, last):
    _, token = service.key()
    seen = []

    async def stream_bare(scope, receive, send):
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        chunk = f"data: {json.dumps(CHUNKS[1])}\n\n".encode()
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
        seen.append(app._process.runtime._spool.next)
        await send({"type": "http.response.body", "body": last, "more_body": True})
        seen.append(app._process.runtime._spool.next)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    app = guard(stream_bare)
    await call(app, token)
    assert seen == [0, 1]
    (event,) = await settled(service, 1)
    assert (event["input_tokens"], event["output_tokens"], event["error"]) == (11, 7, None)


async def test_cors_preflight_reaches_the_host_without_a_key(service, guard, visit):
    app = guard(CORSMiddleware(host(), allow_origins=["https://site.example"], allow_headers=["authorization"]))
    asks = {"origin": "https://site.example", "access-control-request-method": "GET"}
    answer = await visit(app, method="OPTIONS", headers=asks)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "https://site.example"
    assert (await visit(app, method="OPTIONS")).status_code == 401
    assert (await visit(app, headers=asks)).status_code == 401


async def test_rate_limit_headers_of_the_host_are_kept(service, guard, visit):
    async def tell(request):
        return PlainTextResponse("x", headers={"X-RateLimit-Remaining-Requests": "17"})

    _, token = service.key()
    headers = (await visit(guard(Starlette(routes=[Route("/hello", tell)])), token)).headers
    assert headers.get_list("x-ratelimit-remaining-requests") == ["17"]
    assert headers["x-ratelimit-limit-requests"] == "1000"


async def test_two_middlewares_in_one_process_lose_no_events(service, guard, visit, monkeypatch):
    monkeypatch.setattr("keygauge.spool.shipper._ADOPTION_S", 0.1)
    _, token = service.key()
    apps = [guard(host()), guard(host())]
    for _ in range(20):
        for app in apps:
            assert (await visit(app, token)).status_code == 200
        await asyncio.sleep(0.1)
    assert len(await settled(service, 40)) == 40


async def test_dead_spool_is_shipped_only_to_its_own_key_service(service, guard, visit, monkeypatch, tmp_path):
    monkeypatch.setattr("keygauge.spool.shipper._ADOPTION_S", 0.1)
    _, token = service.key()
    line = b'[1,"of a key that this service does not know"]\n'
    dead = {}
    for address in (service.url, "http://127.0.0.1:1"):
        spool = Spool(tmp_path / "spool", address, most_bytes=1_000, on_drop=print)
        spool.append(line)
        spool.close(empty=False)
        dead[address] = spool
    assert (await visit(guard(host()), token)).status_code == 200
    ours = tmp_path / "spool" / f"{dead[service.url].id}.lock"
    for _ in range(100):
        if not ours.exists():
            break
        await asyncio.sleep(0.05)
    await asyncio.sleep(1.2)  # another round of the shipper
    assert not ours.exists()  # shipped events are kept for a while, but not for adoption
    (kept,) = segments(tmp_path / "spool", dead["http://127.0.0.1:1"].id)
    assert kept.path.read_bytes() == line


async def test_large_body_reaches_the_host_unchanged(service, guard, visit):
    _, token = service.key()
    body = b"x" * 20_000_000
    answer = await visit(guard(host()), token, "/echo", method="POST", content=body)
    assert (answer.status_code, answer.text) == (200, "20000000")
    (event,) = await settled(service, 1)
    assert event["request_bytes"] == 20_000_000


async def test_background_work_is_not_request_time(service, guard):
    _, token = service.key()
    started_ns = time.monotonic_ns()
    await call(guard(host()), token, "/background")
    took_us = (time.monotonic_ns() - started_ns) // 1000
    (event,) = await settled(service, 1)
    assert event["duration_us"] <= took_us - 200_000


async def test_mounts_are_part_of_the_template(service, guard, visit):
    _, token = service.key()
    app = guard(host())
    await visit(app, token, "/mounted/acme/things/7")
    await visit(app, token, "/nowhere/at/all")
    events = await settled(service, 2)
    assert [event["route"] for event in events] == ["/mounted/{tenant}/things/{id}", "_unmatched"]
    assert [event["status"] for event in events] == [200, 404]


async def test_open_paths_need_no_key(service, guard, visit):
    app = guard(host(), open_paths=["/healthz", "/hello*"])
    assert (await visit(app, path="/healthz")).status_code == 200
    assert (await visit(app, path="/hello/x")).status_code == 200
    assert (await visit(app, path="/usage")).status_code == 401


async def test_doubly_installed_middleware_counts_once(service, guard, visit):
    _, token = service.key({**RPM, "amount": 2})
    app = guard(guard(host()))
    assert [(await visit(app, token)).status_code for _ in range(3)] == [200, 200, 429]
    assert len(await settled(service, 3)) == 3


async def test_unreachable_key_service_at_start_is_503_until_it_recovers(service, guard, visit):
    _, token = service.key()
    service.down()
    app = guard(host(), wait_s=0.25)
    answer = await visit(app, token)
    assert (answer.status_code, answer.json()["code"]) == (503, "key_service_unavailable")
    assert answer.headers["retry-after"] == "1"
    service.up()
    deadline = time.monotonic() + 100
    while (await visit(app, token)).status_code != 200 and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    assert (await visit(app, token)).status_code == 200


async def test_known_keys_are_served_during_an_outage_until_the_cached_keys_expire(service, guard, visit, monkeypatch):
    monkeypatch.setattr("keygauge_keyservice.sync.heartbeat.T_MAX_MS", 2500)
    _, token = service.key({**MONTHLY, "amount": 1_000_000})
    app = guard(host(), wait_s=5)
    for _ in range(30):
        assert (await visit(app, token)).status_code == 200
    service.down()
    assert (await visit(app, token)).status_code == 200
    deadline = time.monotonic() + 100
    while (answer := await visit(app, token)).status_code == 200 and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    assert (answer.status_code, answer.json()["code"]) == (503, "key_service_unavailable")
    counted = app._process.runtime._spool.next
    service.up()
    events = await settled(service, counted)
    assert len(events) == counted


async def test_observe_mode_counts_own_keys_and_refuses_no_call(visit, tmp_path):
    app = KeyGaugeMiddleware(
        host(),
        mode="observe",
        spool_dir=tmp_path,
        identify=lambda scope: dict(scope["headers"]).get(b"x-user", b"").decode(),
    )
    assert (await visit(app, headers={"x-user": "ann"})).status_code == 200
    assert (await visit(app)).status_code == 200
    cells = app._process.runtime.aggregator.cells()
    assert sum(cell.requests for cell in cells if cell.series.key == "ann") == 1
    app._process.stop()


async def test_observe_mode_with_the_key_service_refuses_no_call(service, guard, visit):
    made, token = service.key({**RPM, "amount": 1})
    app = guard(host(), mode="observe")
    assert [(await visit(app, token)).status_code for _ in range(3)] == [200] * 3
    assert (await visit(app, "garbage")).status_code == 200
    assert [event["key_id"] for event in await settled(service, 3)] == [made.id] * 3


async def test_failing_identify_loses_only_a_label(visit, tmp_path):
    app = KeyGaugeMiddleware(host(), mode="observe", spool_dir=tmp_path, identify=lambda scope: 1 / 0)
    assert (await visit(app)).status_code == 200
    app._process.stop()


def test_identify_requires_observe_mode(guard):
    with pytest.raises(SettingsError, match="observe"):
        guard(host(), identify=lambda scope: None)


def test_missing_service_url_error_names_the_setting(monkeypatch):
    monkeypatch.delenv("KEYGAUGE_SERVICE_URL", raising=False)
    with pytest.raises(SettingsError, match="KEYGAUGE_SERVICE_URL is not set"):
        KeyGaugeMiddleware(host())


async def test_missing_setting_fails_the_startup_of_a_running_server(monkeypatch):
    monkeypatch.delenv("KEYGAUGE_SERVICE_URL", raising=False)
    inbox, sent = [{"type": "lifespan.startup"}], []

    async def receive():
        return inbox.pop()

    async def send(message):
        sent.append(message)

    app = Starlette()
    app.add_middleware(KeyGaugeMiddleware)
    await app({"type": "lifespan", "asgi": {"version": "3.0"}}, receive, send)
    assert [message["type"] for message in sent] == ["lifespan.startup.failed"]
    assert "KEYGAUGE_SERVICE_URL is not set: set" in sent[0]["message"]
    with pytest.raises(SettingsError, match="KEYGAUGE_SERVICE_URL is not set"):  # a server without lifespan support
        await call(app, "any")


async def call(app, token, path="/", *, then=None, send=None):
    """Call an app without a server and return the answer's messages; `then` is a message after the request."""
    sent = []

    came = [{"type": "http.request", "body": b"", "more_body": False}, *filter(None, [then])]

    async def receive():
        return came.pop(0) if came else await asyncio.Event().wait()

    async def take(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "query_string": b"",
        "root_path": "",
        "headers": [(b"authorization", f"Bearer {token}".encode())],
        "client": ("192.0.2.1", 5000),
        "server": ("api", 80),
        "scheme": "http",
        "http_version": "1.1",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
    }
    await app(scope, receive, send or take)
    return sent


async def test_refusal_is_readable_by_cross_origin_pages(guard, visit):
    answer = await visit(guard(host()), headers={"origin": "https://site.example"})
    assert answer.status_code == 401
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-origin" not in (await visit(guard(host()))).headers


async def test_hosts_bearer_token_can_be_sent_with_our_key(service, guard, visit):
    _, token = service.key()
    headers = {"authorization": "Bearer eyJhbGciOiJIUzI1NiJ9.e30.x", "x-api-key": token}
    assert (await visit(guard(host()), headers=headers)).status_code == 200


async def test_keys_can_have_a_dedicated_header(service, guard, visit, monkeypatch):
    monkeypatch.setenv("KEYGAUGE_CREDENTIAL_HEADER", "X-KeyGauge-Key")
    _, token = service.key()
    app = guard(host())
    assert (
        await visit(app, headers={"x-keygauge-key": token, "authorization": "Bearer kg_of-the-host"})
    ).status_code == 200
    refused = (await visit(app, token)).json()
    assert (refused["code"], refused["detail"]) == ("key_missing", "Send your API key in 'X-KeyGauge-Key'.")


async def test_health_paths_of_model_servers_are_open(guard, visit):
    app = guard(Starlette(routes=[Route(path, hello) for path in ("/health", "/ping", "/hello")]))
    assert [(await visit(app, path=path)).status_code for path in ("/health", "/ping", "/hello")] == [200, 200, 401]


async def test_imported_key_is_accepted_if_enabled(service, guard, visit, monkeypatch):
    token = "sk-of-another-system-1"
    given = {"peppers": service.peppers, "account_id": service.account(), "actor": "test", "name": "imported"}
    made = keys.take_over(service.connection, key.digest(token), **given)
    assert (await visit(guard(host()), token)).json()["code"] == "key_invalid"
    monkeypatch.setenv("KEYGAUGE_IMPORTED_KEYS", "1")
    app = guard(host())
    assert (await visit(app, token)).status_code == 200
    assert (await visit(app, f"{token}2")).json()["code"] == "key_invalid"
    assert [event["key_id"] for event in await settled(service, 1)] == [made.id]
