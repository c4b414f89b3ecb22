"""Usage recorded by the app, from anywhere in its code, and estimates for answers without usage."""

import asyncio
import json
from threading import Thread

import pytest
from fastapi import Depends, FastAPI
from flask import Flask, Response
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route

import keygauge
from keygauge import clock

SILENT = {"object": "chat.completion", "model": "gpt-4o-mini", "choices": []}


def state(call=None, **counts):
    (call or keygauge.current()).record_usage(**(counts or {"input_tokens": 5, "output_tokens": 2}), model="own")


def told(event):
    return (event["usage_status"], event["input_tokens"], event["output_tokens"], event["model"])


async def test_usage_of_dependencies_and_handler_adds_up(service, guard, visit):
    _, token = service.key()
    app = FastAPI()

    def in_a_thread():
        state()

    async def on_the_loop():
        state()
        yield
        state()  # after the answer is created, before it is sent

    @app.get("/hello", dependencies=[Depends(in_a_thread), Depends(on_the_loop)])
    def hello():
        state(output_tokens=3)
        return {}

    assert (await visit(guard(app), token)).status_code == 200
    (event,) = service.events(1)
    assert told(event)[0] == "reported"
    assert told(event)[1:3] in {(10, 7), (15, 9)}  # FastAPI closes dependencies before or after the answer


async def test_held_call_waits_for_its_background_task(service, guard, visit):
    _, token = service.key()

    ended = []

    async def work():
        ended.append(keygauge.current().ended_ns)
        await asyncio.sleep(0.2)
        state()

    async def hello(request):
        keygauge.current().hold()
        return PlainTextResponse("done", background=BackgroundTask(work))

    await visit(guard(Starlette(routes=[Route("/hello", hello)])), token)
    (event,) = service.events(1)
    assert told(event) == ("reported", 5, 2, "own")
    assert (event["status"], event["error"]) == (200, None)
    call_ended_ns, after_ns = ended[0], clock.now_ns()
    assert 0 < call_ended_ns < after_ns - 200_000_000  # the task's time is not part of the request


async def test_late_usage_of_a_call_that_is_not_held_is_logged_once(service, guard, visit, caplog):
    _, token = service.key()
    keygauge.call._warn_about_late_usage.cache_clear()

    async def hello(request):
        return PlainTextResponse("done", background=BackgroundTask(state, keygauge.current()))

    app = guard(Starlette(routes=[Route("/hello", hello)]))
    await visit(app, token)
    await visit(app, token)
    assert [told(event)[0] for event in service.events(2)] == ["none", "none"]
    assert len([record for record in caplog.records if "hold()" in record.message]) == 1


async def test_held_call_whose_background_task_fails_is_counted(service, guard, visit):
    _, token = service.key()

    async def fail():
        raise RuntimeError

    async def hello(request):
        keygauge.current().hold()
        return PlainTextResponse("done", background=BackgroundTask(fail))

    await visit(guard(Starlette(routes=[Route("/hello", hello)])), token)
    (event,) = service.events(1)
    assert (event["status"], event["error"]) == (200, None)


def test_thread_with_the_call_can_record_usage(service, guard_wsgi, visit_wsgi):
    _, token = service.key()
    app = Flask("host")

    @app.get("/hello")
    def hello():
        thread = Thread(target=state, args=(keygauge.current(),))
        thread.start()
        thread.join()
        return {}

    visit_wsgi(guard_wsgi(app.wsgi_app), token)
    (event,) = service.events(1)
    assert told(event) == ("reported", 5, 2, "own")


@pytest.mark.parametrize("body", ["whole", iter(["in ", "parts"])], ids=["whole", "parts"])
def test_flask_can_record_usage_when_the_answer_is_closed(service, guard_wsgi, visit_wsgi, body):
    _, token = service.key()
    app = Flask("host")

    @app.get("/hello")
    def hello():
        call = keygauge.current()
        call.hold()
        answer = Response(body)
        answer.call_on_close(lambda: state(call))
        return answer

    assert visit_wsgi(guard_wsgi(app.wsgi_app), token).status_code == 200
    (event,) = service.events(1)
    assert (*told(event), event["error"]) == ("reported", 5, 2, "own", None)


async def silent_stream(request):
    await request.body()

    async def lines():
        for _ in range(6):
            yield f"data: {json.dumps({**SILENT, 'object': 'chat.completion.chunk'})}\n\n"

    return StreamingResponse(lines(), media_type="text/event-stream")


async def silent_chat(request):
    await request.body()
    return JSONResponse(SILENT)


async def silent_refusal(request):
    await request.body()
    return JSONResponse(SILENT, 400)


async def no_model(request):
    return JSONResponse({"hello": "world"})


@pytest.mark.parametrize("estimates", [True, False])
async def test_answer_without_usage_is_estimated(service, guard, visit, monkeypatch, estimates):
    if estimates:
        monkeypatch.setenv("KEYGAUGE_ESTIMATE_USAGE", "1")
    _, token = service.key()
    routes = [Route(path, handler, methods=["POST"]) for path, handler in ROUTES.items()]
    app = guard(Starlette(routes=routes))
    for path in ROUTES:
        await visit(app, token, path, method="POST", content=b"x" * 41)
    stream_event, document, refusal, other = service.events(4)
    estimated, none = ("estimated", 11, 6, "gpt-4o-mini"), ("none", None, None, "gpt-4o-mini")
    assert told(stream_event) == estimated
    estimated_document = ("estimated", 11, -(-document["response_bytes"] // 4), "gpt-4o-mini")
    assert told(document) == (estimated_document if estimates else none)
    assert told(refusal) == none
    assert told(other) == ("none", None, None, None)


ROUTES = {"/stream": silent_stream, "/chat": silent_chat, "/refused": silent_refusal, "/hello": no_model}


@pytest.mark.parametrize("name", [{"model": 5}, {"provider": b"openai"}])
def test_non_string_name_raises_in_the_app(name):
    with pytest.raises(ValueError, match="use a string"):
        keygauge.current().record_usage(input_tokens=1, **name)


@pytest.mark.parametrize(("unit", "used"), [("token", 8), ("input_token", 6), ("output_token", 2)])
async def test_input_and_output_are_settled_separately(service, guard, visit, unit, used):
    _, token = service.key({"name": "apart", "unit": unit, "amount": 10_000, "period": "month"})
    app = FastAPI()

    @app.post("/ask")
    def ask():
        state(input_tokens=6, output_tokens=2)
        return {}

    app = guard(app)
    answers = [await visit(app, token, "/ask", method="POST", json={"max_tokens": 300}) for _ in range(3)]
    assert {answer.status_code for answer in answers} == {200}
    first, second, third = (
        int(answer.headers[f"x-ratelimit-remaining-{unit.replace('_', '-')}s"]) for answer in answers
    )
    assert (first - second, second - third) == (used, used)


async def test_failed_cost_calculation_does_not_hold_a_concurrency_slot(service, guard, visit):
    slots = {"name": "slots", "unit": "concurrent", "amount": 2}
    budget = {"name": "budget", "unit": "nanousd", "amount": 10**12, "period": "month"}
    _, token = service.key(slots, budget)
    app = FastAPI()

    @app.post("/ask")
    def ask():
        state()
        keygauge.current().model = 5
        return {}

    app = guard(app)
    assert [(await visit(app, token, "/ask", method="POST", json={})).status_code for _ in range(6)] == [200] * 6


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ({"input_audio": 500}, ("reported", 500, None)),
        ({"cache_read_tokens": 40, "output_audio": 9}, ("reported", 40, 9)),
        ({"input_tokens": 10, "cache_read_tokens": 50, "output_tokens": 2}, ("partial", 10, 2)),
        ({"input_tokens": 10, "output_tokens": 2, "output_audio": 3}, ("partial", 10, 2)),
    ],
)
async def test_recorded_part_is_never_larger_than_its_whole(service, guard, visit, stated, expected):
    async def hello(_):
        keygauge.current().record_usage(**stated, model="gpt-4o")
        return PlainTextResponse("done")

    _, token = service.key()
    await visit(guard(Starlette(routes=[Route("/hello", hello)])), token)
    (event,) = service.events(1)
    assert (told(event)[:3], event["cache_read_tokens"] or 0) == (
        expected,
        min(stated.get("cache_read_tokens", 0), expected[1] or 0),
    )
    assert event["cost_nanousd"] >= 0


async def test_part_and_whole_can_be_recorded_separately(service, guard, visit):
    async def hello(_):
        keygauge.current().record_usage(cache_read_tokens=50, model="gpt-4o")
        keygauge.current().record_usage(input_tokens=80, output_tokens=1)
        return PlainTextResponse("done")

    _, token = service.key()
    await visit(guard(Starlette(routes=[Route("/hello", hello)])), token)
    (event,) = service.events(1)
    assert (told(event)[:3], event["cache_read_tokens"]) == (("reported", 80, 1), 50)


async def test_recorded_model_without_provider_has_the_provider_of_its_name(service, guard, visit):
    _, token = service.key()

    async def work(request):
        keygauge.current().record_usage(input_tokens=1, model="grok-4")
        keygauge.current().record_usage(input_tokens=2, model="deepseek-chat")
        return JSONResponse({})

    await visit(guard(Starlette(routes=[Route("/", work)])), token, "/")
    events = service.events(2)
    assert {(one["model"], one["provider"]) for one in events} == {("grok-4", "x_ai"), ("deepseek-chat", "deepseek")}


async def test_usage_of_several_models_is_counted_and_priced_separately(service, guard, visit):
    _, token = service.key()

    async def work(request):
        call = keygauge.current()
        call.record_usage(input_tokens=1000, model="gpt-4o", provider="openai")
        call.record_usage(output_tokens=7)
        call.record_usage(input_tokens=10, cache_read_tokens=90, model="gpt-4.1-nano", provider="openai")
        call.record_usage(input_tokens=1, model="gpt-4o")
        call.record_usage(images=2, model="own", provider="studio")
        return JSONResponse({})

    await visit(guard(Starlette(routes=[Route("/", work)])), token, "/")
    events = service.events(3)
    assert sorted((one["model"], one["provider"], one["input_tokens"], one["output_tokens"]) for one in events) == [
        ("gpt-4.1-nano", "openai", 10, None),
        ("gpt-4o", "openai", 1001, 7),
        ("own", "studio", None, None),
    ]
    assert [one["details"] for one in events if one["model"] == "own"] == [{"images": 2}]
    assert [one["cache_read_tokens"] for one in events if one["model"] == "gpt-4.1-nano"] == [
        10
    ]  # never above the count that includes it
    assert sum(one["request_bytes"] for one in events) == max(one["request_bytes"] for one in events)
