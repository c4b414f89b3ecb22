"""Several answers in one stream, and several models in one answer: each is a row of its own, at its own price."""

import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from starlette.applications import Starlette
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from keygauge_keyservice.ledger.replicas import reconcile

LARGE = 150_000  # two of these are past the size from which the model's rates are higher


def usage(given, made):
    return {"prompt_tokens": given, "completion_tokens": made, "total_tokens": given + made}


def chunk(name, model, told=None, *, done=False):
    choices = [] if done else [{"index": 0, "delta": {"content": "x"}, "finish_reason": None}]
    return {"id": name, "model": model, "choices": choices, "usage": told}


def streaming(*documents):
    async def answer(request):
        await request.body()
        events = [f"data: {json.dumps(document)}\n\n" for document in documents]
        return StreamingResponse(iter([*events, "data: [DONE]\n\n"]), media_type="text/event-stream")

    return Starlette(routes=[Route("/{path:path}", answer, methods=["POST"])])


async def events_of(service, guard, visit, app, count, *limits):
    _, token = service.key(*limits)
    app = guard(app)
    answer = await visit(app, token, "/v1/chat/completions", method="POST", json={"model": "router"})
    assert answer.status_code == 200
    app._process.stop()
    events = sorted(service.events(count), key=lambda event: event["messages"])
    assert sorted(event["outcome"] for event in events) == ["admitted", *["part"] * (count - 1)]
    sums = service.connection.execute(
        "SELECT sum(requests) AS requests, sum(cost_nanousd) AS cost FROM rollup"
    ).fetchone()
    assert sums == {"requests": 1, "cost": sum(event["cost_nanousd"] for event in events)}
    first = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
    assert reconcile.find_drift(service.connection, first, first + timedelta(hours=3)) == []
    return events


def told(event):
    return event["model"], event["provider"], event["input_tokens"], event["output_tokens"], event["cost_nanousd"]


async def test_rates_by_size_are_those_of_each_answer(service, guard, visit):
    answers = [chunk(name, "gemini-2.5-pro", usage(LARGE, 100), done=True) for name in ("a", "b")]
    events = await events_of(service, guard, visit, streaming(*answers), 2)
    each = LARGE * 1250 + 100 * 10_000
    assert [told(event) for event in events] == [("gemini-2.5-pro", "gcp.gemini", LARGE, 100, each)] * 2
    assert [event["messages"] for event in events] == [0, 3]


async def test_two_models_that_take_turns_in_a_stream_have_their_own_rates(service, guard, visit):
    limit = {"name": "tokens", "unit": "token", "amount": 1_000_000, "period": "month"}
    running = [chunk("a", "gpt-4o", usage(1000, 1)), chunk("b", "gpt-4.1-nano", usage(1000, 1))]
    ended = [chunk("b", "gpt-4.1-nano", usage(1000, 100), done=True), chunk("a", "gpt-4o", usage(1000, 50), done=True)]
    events = await events_of(service, guard, visit, streaming(*running, *ended), 2, limit)
    assert [told(event) for event in events] == [
        ("gpt-4o", "openai", 1000, 50, 3_000_000),
        ("gpt-4.1-nano", "openai", 1000, 100, 140_000),
    ]
    rows = service.connection.execute("SELECT cells FROM limit_state").fetchall()
    assert sum(sum(row["cells"]) for row in rows) == 2150


async def test_the_weight_of_a_request_counts_once(service, guard, visit):
    weights = {"request": 10_000, "output": 1}
    limit = {"name": "points", "unit": "weighted", "unit_name": "points", "weights": weights, "period": "month"}
    answers = [chunk(name, "gpt-4o", usage(1000, 50), done=True) for name in ("a", "b")]
    await events_of(service, guard, visit, streaming(*answers), 2, limit | {"amount": 1_000_000})
    rows = service.connection.execute("SELECT cells FROM limit_state").fetchall()
    assert sum(sum(row["cells"]) for row in rows) == 10_100


async def test_an_answer_after_the_end_of_the_first_has_its_own_rates(service, guard, visit):
    first, second = (
        chunk("a", "gpt-4o", usage(1000, 50), done=True),
        chunk("b", "gpt-4.1-nano", usage(1000, 100), done=True),
    )

    async def answer(request):
        await request.body()
        events = [f"data: {json.dumps(document)}\n\ndata: [DONE]\n\n" for document in (first, second)]
        return StreamingResponse(iter(events), media_type="text/event-stream")

    events = await events_of(
        service, guard, visit, Starlette(routes=[Route("/{path:path}", answer, methods=["POST"])]), 2
    )
    assert sorted(told(event)[-1] for event in events) == [140_000, 3_000_000]


async def test_the_models_that_a_compound_system_called_have_their_own_rates(service, guard, visit):
    calls = [("llama-3.3-70b-versatile", usage(1000, 100)), ("openai/gpt-oss-120b", usage(2000, 200))]
    document = {
        "id": "stub",
        "object": "chat.completion",
        "model": "groq/compound",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}],
        "usage": usage(3000, 300),
        "usage_breakdown": {"models": [{"model": model, "usage": told} for model, told in calls]},
        "x_groq": {"id": "req_1"},
    }

    async def answer(request):
        await request.body()
        return JSONResponse(document)

    app = Starlette(routes=[Route("/{path:path}", answer, methods=["POST"])])
    events = await events_of(service, guard, visit, app, 2)
    assert sorted(told(event)[:4] for event in events) == [
        ("llama-3.3-70b-versatile", "groq", 1000, 100),
        ("openai/gpt-oss-120b", "groq", 2000, 200),
    ]
    assert {event["requested_model"] for event in events} == {"router"}


async def test_a_stream_that_breaks_off_is_estimated_by_the_events_of_its_last_answer(service, guard, visit):
    first = [chunk("a", "gpt-4o")] * 50 + [chunk("a", "gpt-4o", usage(10, 50), done=True)]
    second = [chunk("b", "gpt-4o", usage(10, 1))] + [chunk("b", "gpt-4o")] * 9

    async def answer(request):
        await request.body()

        async def events():
            for document in [*first, *second]:
                yield f"data: {json.dumps(document)}\n\n"
            raise RuntimeError

        return StreamingResponse(events(), media_type="text/event-stream")

    _, token = service.key()
    app = guard(Starlette(routes=[Route("/{path:path}", answer, methods=["POST"])]))
    with suppress(RuntimeError):
        await visit(app, token, "/v1/chat/completions", method="POST", json={})
    app._process.stop()
    events = sorted(service.events(2), key=lambda event: event["messages"])
    assert [(event["usage_status"], event["output_tokens"]) for event in events] == [
        ("reported", 50),
        ("estimated", 11),
    ]
