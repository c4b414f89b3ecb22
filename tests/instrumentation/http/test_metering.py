"""The usage of served calls: provider and model, which operations consume, estimates, and counts outside the body."""

import json
from itertools import count
from pathlib import Path

import pytest
from bodies import message
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from keygauge_keyservice.accounts import plans

GOLDEN = Path(__file__).parents[1] / "usage/golden"
USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "model": "gpt-4.1",
    "usage": {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7},
}


def answering(document=None, *, media_type=None, chunks=None, headers=None):
    async def answer(request):
        await request.body()
        if chunks is not None:
            return StreamingResponse(iter(chunks), media_type=media_type or "text/event-stream")
        if callable(document):
            return JSONResponse(document())
        return Response(json.dumps(document), media_type=media_type or "application/json", headers=headers)

    return Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "POST", "PATCH", "DELETE"])])


@pytest.fixture
def event_of(service, guard, visit):
    async def event_of(host, path="/v1/chat/completions", method="POST", **sent):
        _, token = service.key()
        app = guard(host)
        await visit(app, token, path, method=method, **sent)
        app._process.stop()
        return service.events(1)[-1]

    return event_of


def told(event):
    return event["usage_status"], event["input_tokens"], event["output_tokens"]


@pytest.mark.parametrize(
    ("model", "path", "provider"),
    [
        ("gpt-4o", "/v1/chat/completions", "openai"),
        ("house", "/v1/chat/completions", "openai"),
        ("deepseek-chat", "/v1/chat/completions", "deepseek"),
        ("grok-4", "/v1/chat/completions", "x_ai"),
        ("glm-4.6", "/v1/chat/completions", "zai"),
        ("groq/llama-3.3-70b", "/v1/chat/completions", "groq"),
        ("us.anthropic.claude-sonnet-4-20250514-v1:0", "/v1/chat/completions", "aws.bedrock"),
        ("gpt-4o", "/openai/deployments/mine/chat/completions", "azure.ai.openai"),
        ("gpt-4o", "/own/chat", "vllm"),
    ],
)
async def test_provider_is_determined_by_rule_path_name_and_shape(event_of, monkeypatch, model, path, provider):
    monkeypatch.setenv("KEYGAUGE_PROVIDERS", "/own/*=vllm, /own/other=tgi")
    event = await event_of(answering({"model": model, "choices": [], "usage": USAGE}), path)
    assert (event["provider"], event["model"]) == (provider, model)


@pytest.mark.parametrize(
    ("model", "marks", "provider", "rates"),
    [
        ("openai/gpt-oss-120b", {"x_groq": {"id": "req_1"}}, "groq", (150, 600)),
        ("gpt-oss-120b", {"time_info": {"queue_time": 0.1}}, "cerebras", (350, 750)),
        ("o4-mini", {"prompt_filter_results": [{"prompt_index": 0}]}, "azure.ai.openai", (1100, 4400)),
        ("deepseek/deepseek-chat", {"usage": USAGE | {"cost": 1e-5, "is_byok": False}}, "openrouter", (257.4, 1028.7)),
        ("gpt-4o", {"x_groq": None, "time_info": None, "prompt_filter_results": []}, "openai", (2500, 10_000)),
        ("openai/gpt-4o", {"usage": USAGE | {"cost": 0, "is_byok": True}}, "openai", (2500, 10_000)),
    ],
)
async def test_answer_marked_by_its_host_has_the_hosts_price(event_of, model, marks, provider, rates):
    event = await event_of(answering({"model": model, "choices": [], "usage": USAGE} | marks))
    given, made = rates
    assert (event["provider"], event["cost_nanousd"]) == (provider, round(11 * given + 7 * made))


async def test_interrupted_stream_has_the_price_of_its_host(event_of):
    chunk = {"model": "openai/gpt-oss-120b", "choices": [{"delta": {"content": "Hi"}}], "x_groq": {"id": "req_1"}}
    event = await event_of(answering(chunks=[f"data: {json.dumps(chunk)}\n\n"] * 9), content=b"x" * 40)
    assert (event["provider"], event["cost_nanousd"]) == ("groq", 10 * 150 + 9 * 600)


async def test_plan_rules_precede_service_rules(service, guard, visit, monkeypatch):
    monkeypatch.setenv("KEYGAUGE_PROVIDERS", "/own/*=vllm")
    (_, token), (_, other) = service.key(), service.key()
    account = service.connection.execute("SELECT plan_id FROM account ORDER BY created_at LIMIT 1").fetchone()
    plans.set_providers(service.connection, account["plan_id"], ["/own/*=deepseek", "/*=tgi"], actor="test")
    app = guard(answering({"model": "house", "choices": [], "usage": USAGE}))
    for sent, path in ((token, "/own/chat"), (token, "/v1/chat/completions"), (other, "/own/chat")):
        await visit(app, sent, path, method="POST")
    app._process.stop()
    assert [event["provider"] for event in service.events(3)] == ["deepseek", "tgi", "vllm"]


async def test_stored_answers_are_charged_once_for_any_number_of_reads(service, guard, visit):
    _, token = service.key()
    app = guard(answering(RESPONSE))
    for method, path in [
        ("POST", "/v1/responses"),
        *[("GET", "/v1/responses/resp_1")] * 3,
        ("POST", "/v1/responses/resp_1/cancel"),
    ]:
        assert (await visit(app, token, path, method=method)).status_code == 200
    app._process.stop()
    assert [event["output_tokens"] for event in service.events(5)] == [4, None, None, None, None]


async def test_background_answer_is_charged_when_first_read(service, guard, visit):
    _, token = service.key()
    answers = iter([{**RESPONSE, "status": "queued", "usage": None}, RESPONSE, RESPONSE])
    app = guard(answering(lambda: next(answers)))
    await visit(app, token, "/v1/responses", method="POST", json={"background": True})
    for _ in range(2):
        await visit(app, token, "/v1/responses/resp_1")
    app._process.stop()
    assert [event["output_tokens"] for event in service.events(3)] == [None, 4, None]


@pytest.mark.parametrize("path", ["/v1/async/sonar", "/async/chat/completions"])
async def test_asynchronous_job_is_charged_when_its_answer_is_first_read(service, guard, visit, path):
    _, token = service.key()
    job = {"id": "job_1", "model": "sonar", "status": "CREATED", "response": None}
    answer = {"id": "chat_1", "model": "sonar", "usage": USAGE, "choices": [], "object": "chat.completion"}
    done = job | {"status": "COMPLETED", "response": answer}
    answers = iter([job, job | {"status": "IN_PROGRESS"}, done, done])
    app = guard(answering(lambda: next(answers)))
    await visit(app, token, path, method="POST", json={"request": {"model": "sonar", "messages": []}})
    for _ in range(3):
        await visit(app, token, f"{path}/job_1")
    app._process.stop()
    assert [event["output_tokens"] for event in service.events(4)] == [None, None, USAGE["completion_tokens"], None]


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_call_with_a_body_is_charged_for_any_method(service, guard, visit, method):
    _, token = service.key()
    app = guard(answering({"id": "chatcmpl-1", "model": "gpt-4o", "choices": [], "usage": USAGE}))
    await visit(app, token, "/v1/chat/completions", method=method, json={"model": "gpt-4o", "messages": []})
    app._process.stop()
    assert [event["usage_status"] for event in service.events(1)] == ["reported"]


async def test_answer_to_head_is_charged(service, guard, visit):
    _, token = service.key()
    app = guard(Starlette(routes=[Route("/{path:path}", lambda _: JSONResponse({"model": "m", "usage": USAGE}))]))
    await visit(app, token, "/ask", method="HEAD")
    app._process.stop()
    (event,) = service.events(1)
    assert (event["usage_status"], event["response_bytes"]) == ("reported", 0)


async def test_path_parameter_does_not_make_a_call_free(service, guard, visit):
    async def answer(_):
        return JSONResponse({"model": "m", "usage": USAGE})

    _, token = service.key()
    app = guard(Starlette(routes=[Route("/{project}/v1/chat/completions", answer, methods=["POST"])]))
    await visit(app, token, "/batches/v1/chat/completions", method="POST", json={})
    app._process.stop()
    assert [event["usage_status"] for event in service.events(1)] == ["reported"]


SHOWN = [  # per each API's reference: operations that show usage and use none
    *(("GET", f"/v1/responses/resp_1{rest}") for rest in ("", "/input_items")),
    *(("GET", f"/v1/chat/completions{rest}") for rest in ("", "/chatcmpl_1", "/chatcmpl_1/messages")),
    *(("GET", f"/v1/threads/thread_1/runs{rest}") for rest in ("", "/run_1", "/run_1/steps", "/run_1/steps/step_1")),
    *(("GET", f"/v1/{rest}") for rest in ("batches", "batches/batch_1", "videos", "videos/video_1", "files/file_1")),
    *(("GET", f"/v1/evals/eval_1/runs{rest}") for rest in ("", "/run_1", "/run_1/output_items")),
    *(("GET", f"/v1/fine_tuning/jobs{rest}") for rest in ("", "/ftjob_1", "/ftjob_1/events", "/ftjob_1/checkpoints")),
    *(("GET", f"/v1/{rest}") for rest in ("conversations/conv_1", "organization/usage/completions", "models/gpt-4o")),
    ("DELETE", "/v1/responses/resp_1"),
    *(("POST", f"/v1/{rest}/cancel") for rest in ("responses/resp_1", "batches/b_1", "threads/t/runs/run_1")),
    *(("POST", f"/v1/{rest}") for rest in ("batches", "chat/completions/chatcmpl_1", "threads/t/runs/run_1")),
    *(("POST", f"/v1/{rest}") for rest in ("responses/input_tokens", "files", "uploads", "uploads/u_1/complete")),
    *(("GET", f"/v1/messages/batches{rest}") for rest in ("", "/msgbatch_1", "/msgbatch_1/results")),
    *(("POST", f"/v1/messages/{rest}") for rest in ("batches", "batches/msgbatch_1/cancel", "count_tokens")),
    *(
        ("GET", f"/v1beta/{rest}")
        for rest in ("batches/b_1", "interactions/i_1", "cachedContents/c_1", "operations/o_1")
    ),
    *(("POST", f"/v1beta/{rest}") for rest in ("batches/b_1:cancel", "interactions/i_1/cancel")),
    *(("POST", f"/v1beta/models/gemini-2.5-flash:{rest}") for rest in ("countTokens", "batchGenerateContent")),
    ("POST", "/v1/projects/p/locations/l/publishers/google/models/veo-3:fetchPredictOperation"),
    ("PATCH", "/v1beta/cachedContents/c_1"),
]
USED = [
    *(("POST", f"/v1/{rest}") for rest in ("responses", "responses/compact", "chat/completions", "completions")),
    *(("POST", f"/v1/{rest}") for rest in ("embeddings", "images/edits", "audio/transcriptions", "videos/v_1/remix")),
    *(("POST", f"/v1/threads/{rest}") for rest in ("runs", "t/runs", "t/runs/run_1/submit_tool_outputs")),
    *(("POST", f"/v1/{rest}") for rest in ("messages", "complete", "conversations/conv_1", "rerank")),
    *(("POST", f"/v1beta/models/gemini-2.5-flash:{rest}") for rest in ("generateContent", "embedContent", "predict")),
    *(("POST", f"/v1beta/{rest}") for rest in ("interactions", "cachedContents", "tunedModels/t:generateContent")),
]


async def test_operations_are_charged_per_the_apis_references(service, guard, visit):
    _, token = service.key()
    number = count()
    app = guard(answering(lambda: {"id": f"a_{next(number)}", "model": "m", "usage": USAGE}))
    made = [*SHOWN, *USED]
    for method, path in made:
        assert (await visit(app, token, path, method=method)).status_code == 200
    app._process.stop()
    events = service.events(len(made))
    assert [call for call, event in zip(made, events, strict=True) if event["usage_status"] == "reported"] == USED


TOKENS = {"name": "tokens", "unit": "token", "amount": 100_000, "period": "month"}
PREPARING = [  # per each API's reference: operations that use nothing and report no usage
    *("/v1/assistants", "/v1/assistants/asst_1", "/v1/threads", "/v1/threads/t_1", "/v1/threads/t_1/messages"),
    *("/v1/threads/t_1/messages/msg_1", "/v1/conversations", "/v1/conversations/conv_1", "/v1/conversations/c/items"),
    *("/v1/vector_stores", "/v1/vector_stores/vs_1/search", "/v1/vector_stores/vs_1/files", "/v1/containers"),
    *("/v1/vector_stores/vs_1/file_batches/b_1/cancel", "/v1/containers/c_1/files", "/v1/evals", "/v1/evals/e/runs/r"),
    *("/v1/realtime/client_secrets", "/v1/realtime/sessions", "/v1/realtime/transcription_sessions"),
    *("/v1/realtime/calls/rtc_1/hangup", "/v1/chatkit/sessions", "/v1/moderations", "/v1/agents", "/v1/skills"),
    *(
        "/v1/load_lora_adapter",
        "/v1/unload_lora_adapter",
        "/apply-template",
        "/api/push",
        "/api/blobs/sha256:0",
        "/sleep",
    ),
]


async def kept(service, guard, visit, host, path, **sent):
    """Make a call without an output cap; return what it used of a token limit."""
    _, token = service.key(TOKENS)
    app = guard(host)
    await visit(app, token, path, **({"method": "POST"} | sent))
    app._process.stop()
    state = service.connection.execute("SELECT cells FROM limit_state").fetchone()
    return sum(state["cells"]) if state else 0


@pytest.mark.parametrize("path", PREPARING)
async def test_setup_call_returns_its_reservation(service, guard, visit, path):
    host = answering({"id": "x_1", "object": "thread", "model": "gpt-4o"})
    assert await kept(service, guard, visit, host, path, json={"name": "x"}) == 0


async def test_deleting_a_model_returns_the_reservation(service, guard, visit):
    assert await kept(service, guard, visit, answering({}), "/api/delete", method="DELETE", json={"model": "m"}) == 0


@pytest.mark.parametrize("path", ["/v1/threads/t_1/messages", "/v1/conversations", "/v1/moderations", "/v1/agents"])
async def test_answer_with_usage_on_a_setup_path_is_charged(service, guard, visit, path):
    host = answering({"id": "x", "model": "m", "choices": [], "usage": USAGE})
    assert await kept(service, guard, visit, host, path, json={}) == 18


@pytest.mark.parametrize("path", ["/v1/threads/t_1/messages", "/v1/conversations"])
async def test_stream_on_a_setup_path_is_charged(service, guard, visit, path):
    chunk = {"model": "m", "choices": [{"delta": {"content": "Hi"}}]}
    host = answering(chunks=[f"data: {json.dumps(chunk)}\n\n"] * 30)
    assert await kept(service, guard, visit, host, path, content=b"x" * 40) >= 40


@pytest.mark.parametrize(
    "path", ["/v1/threads/runs", "/v1/agents/completions", "/v1/evals/e_1/runs", "/v1/threads/t/ask"]
)
async def test_call_that_may_use_tokens_keeps_its_reservation(service, guard, visit, path):
    assert await kept(service, guard, visit, answering({"id": "x"}), path, json={}) > 1000


RPC = {"jsonrpc": "2.0", "id": 1}
LISTED = RPC | {"result": {"tools": []}}


@pytest.mark.parametrize(
    "method", ["initialize", "ping", "tools/list", "resources/templates/list", "prompts/get", "notifications/cancelled"]
)
@pytest.mark.parametrize("media_type", ["application/json", "text/event-stream", None])
async def test_mcp_request_without_a_tool_call_returns_its_reservation(service, guard, visit, method, media_type):
    text = json.dumps(LISTED)
    body = {"application/json": text, "text/event-stream": f"event: message\ndata: {text}\n\n"}.get(media_type, "")
    host = answering(chunks=[body], media_type=media_type or " ")
    assert await kept(service, guard, visit, host, "/mcp", json=RPC | {"method": method}) == 0


CALL = RPC | {"method": "tools/call", "params": {"name": "x", "arguments": {"q": "y" * 400}}}
CALLED = RPC | {"result": {"content": [{"type": "text", "text": "z" * 400}]}}


@pytest.mark.parametrize("answer", [CALLED, RPC | {"error": {"code": -32602, "message": "Unknown tool"}}])
@pytest.mark.parametrize("media_type", ["application/json", "text/event-stream"])
async def test_tool_call_without_usage_returns_its_reservation(service, guard, visit, answer, media_type):
    text = json.dumps(answer)
    body = text if media_type == "application/json" else f"event: message\ndata: {text}\n\n"
    host = answering(chunks=[body], media_type=media_type)
    assert await kept(service, guard, visit, host, "/mcp", json=CALL) == 0


async def test_tool_call_with_usage_is_charged(service, guard, visit):
    host = answering(CALLED | {"model": "m", "usage": USAGE})
    assert await kept(service, guard, visit, host, "/mcp", json=CALL) == 18


@pytest.mark.parametrize("answered", [b'{"jsonrpc": "2.0", "id": 1, "resu', b""])
async def test_tool_call_whose_answer_was_not_read_keeps_its_reservation(service, guard, visit, answered):
    host = answering(chunks=[answered], media_type="application/json")
    assert await kept(service, guard, visit, host, "/mcp", json=CALL) > 1000


async def test_reply_of_an_mcp_client_returns_its_reservation(service, guard, visit):
    reply = RPC | {"result": {"role": "assistant", "model": "m", "content": {"type": "text", "text": "Hi"}}}
    assert await kept(service, guard, visit, answering(chunks=[b""], media_type=" "), "/mcp", json=reply) == 0


@pytest.mark.parametrize(
    ("path", "sent", "answer"),
    [
        ("/ask", CALL | {"prompt": "Hi"}, {"text": "Hi"}),
        ("/v1/chat/completions", CALL, CALLED),
        ("/mcp", [CALL], CALLED),
        ("/ask", RPC | {"result": {}, "prompt": "Hi"}, {"text": "Hi"}),
        ("/mcp", RPC | {"method": "message/send"}, LISTED),
        ("/mcp", [RPC | {"method": "tools/list"}], LISTED),
        ("/mcp", {"method": "tools/list"}, LISTED),
        ("/ask", RPC | {"method": "tools/list", "prompt": "Hi"}, {"text": "Hi"}),
        ("/v1/chat/completions", RPC | {"method": "tools/list"}, LISTED),
    ],
)
async def test_request_cannot_declare_itself_free(service, guard, visit, path, sent, answer):
    assert await kept(service, guard, visit, answering(answer), path, json=sent) > 1000


@pytest.mark.parametrize("kind", ["session", "session_thread"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_session_shows_usage_of_its_turns_without_charge(event_of, kind, method):
    usage = {"input_tokens": 5000, "output_tokens": 3200, "cache_read_input_tokens": 20000}
    session = {"id": "sesn_1", "type": kind, "agent": {"model": {"id": "claude-opus-4-6"}}, "usage": usage}
    event = await event_of(answering(session), "/v1/sessions/sesn_1", method)
    assert (event["usage_status"], event["input_tokens"], event["cost_nanousd"]) == ("none", None, None)


async def test_unlisted_read_charges_an_answer_only_once(service, guard, visit):
    _, token = service.key()
    answers = iter([RESPONSE, RESPONSE, {**RESPONSE, "id": "resp_2"}, {**RESPONSE, "id": "resp_2"}])
    app = guard(answering(lambda: next(answers)))
    await visit(app, token, "/v1/responses", method="POST")
    for _ in range(3):
        await visit(app, token, "/own/answers")
    app._process.stop()
    assert [event["output_tokens"] for event in service.events(4)] == [4, None, 4, None]


async def test_rest_of_an_interrupted_answer_is_charged_when_read(service, guard, visit):
    _, token = service.key()
    created = {"type": "response.created", "response": {**RESPONSE, "usage": None}}
    delta = {"type": "response.output_text.delta", "delta": "Hi"}
    whole = {**RESPONSE, "usage": {"input_tokens": 10, "output_tokens": 99, "total_tokens": 109}}

    async def host(request):
        await request.body()
        if request.method == "GET":
            return JSONResponse(whole)
        events = [f"data: {json.dumps(one)}\n\n" for one in [created, *[delta] * 3]]
        return StreamingResponse(iter(events), media_type="text/event-stream")

    app = guard(Starlette(routes=[Route("/{path:path}", host, methods=["GET", "POST"])]))
    await visit(app, token, "/v1/responses", method="POST", content=b"x" * 24)
    for _ in range(2):
        await visit(app, token, "/v1/responses/resp_1")
    app._process.stop()
    assert [told(event) for event in service.events(3)] == [
        ("estimated", 6, 4),
        ("reported", 4, 95),
        ("none", None, None),
    ]


def message_of(name, given, made):
    start = {"id": name, "model": "claude-sonnet-4-5", "usage": {"input_tokens": given, "output_tokens": 1}}
    events = [
        {"type": "message_start", "message": start},
        {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "Hi"}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": made}},
        {"type": "message_stop"},
    ]
    return [f"event: {one['type']}\ndata: {json.dumps(one)}\n\n".encode() for one in events]


async def test_second_answer_in_a_stream_is_counted(service, guard, visit):
    _, token = service.key()
    app = guard(answering(chunks=[*message_of("msg_1", 10, 20), *message_of("msg_2", 30, 5), b": the end\n\n"]))
    await visit(app, token, "/v1/messages", method="POST")
    app._process.stop()
    assert [told(event) for event in service.events(2)] == [("reported", 10, 20), ("reported", 30, 5)]


async def test_usage_of_another_model_is_a_separate_call_at_its_own_price(service, guard, visit):
    limit = {"name": "tokens", "unit": "token", "amount": 100_000, "period": "month"}
    _, token = service.key(limit)
    app = guard(answering(json.loads((GOLDEN / "anthropic_advisor.json").read_bytes())))
    await visit(app, token, "/v1/messages", method="POST", json={"max_tokens": 600})
    app._process.stop()
    events = service.events(2)
    assert [(event["model"], *told(event)) for event in events] == [
        ("claude-sonnet-4-6", "reported", 412, 531),
        ("claude-opus-4-6", "reported", 823, 1612),
    ]
    assert events[1]["cost_nanousd"] == 823 * 5000 + 1612 * 25_000
    state = service.connection.execute("SELECT cells FROM limit_state").fetchone()
    assert sum(state["cells"]) == 412 + 531 + 823 + 1612


async def test_second_answer_in_a_stream_is_charged_to_limits(service, guard, visit):
    _, token = service.key({"name": "tokens", "unit": "token", "amount": 100_000, "period": "month"})
    app = guard(answering(chunks=[*message_of("msg_1", 10, 20), *message_of("msg_2", 3000, 500), b": the end\n\n"]))
    await visit(app, token, "/v1/messages", method="POST")
    app._process.stop()
    state = service.connection.execute("SELECT cells FROM limit_state").fetchone()
    assert sum(state["cells"]) == 10 + 20 + 3000 + 500


async def test_answer_repeated_after_its_end_is_not_counted_again(service, guard, visit):
    _, token = service.key()
    app = guard(answering(chunks=[*message_of("msg_1", 10, 20), *message_of("msg_1", 10, 20)]))
    await visit(app, token, "/v1/messages", method="POST")
    app._process.stop()
    assert [told(event) for event in service.events(1)] == [("reported", 10, 20)]


async def test_answers_with_the_same_id_are_all_counted(service, guard, visit):
    _, token = service.key()
    app = guard(answering({"id": "chatcmpl-1", "model": "gpt-4o", "choices": [], "usage": USAGE}))
    for _ in range(2):
        await visit(app, token, "/v1/chat/completions", method="POST")
    app._process.stop()
    assert [event["output_tokens"] for event in service.events(2)] == [7, 7]


@pytest.mark.parametrize(
    ("path", "sent", "answer", "model"),
    [
        (
            "/v2/chat",
            {"json": {"model": "command-r-plus"}},
            {"usage": {"tokens": {"input_tokens": 3}}},
            "command-r-plus",
        ),
        ("/v1/images/generations", {"json": {"model": "gpt-image-1"}}, {"usage": {"input_tokens": 3}}, "gpt-image-1"),
        ("/v1/audio/speech", {"json": {"model": "tts-1", "input": "x" * 99}}, None, "tts-1"),
        ("/v1/audio/transcriptions", {"data": {"model": "whisper-1"}, "files": {"file": b"x" * 99}}, {}, "whisper-1"),
        ("/v1beta/models/gemini-embedding-001:embedContent", {"json": {}}, {"embedding": {}}, "gemini-embedding-001"),
        (
            "/model/us.amazon.nova-lite-v1:0/converse",
            {"json": {}},
            {"usage": {"inputTokens": 3}},
            "us.amazon.nova-lite-v1:0",
        ),
        ("/cars", {"json": {"model": "Golf"}}, {"price": 3}, None),
    ],
)
async def test_model_named_only_in_the_request_is_counted(event_of, path, sent, answer, model):
    media_type = "audio/mpeg" if answer is None else None
    event = await event_of(answering(answer, media_type=media_type), path, **sent)
    assert event["model"] == model


@pytest.mark.parametrize(
    ("path", "golden", "media_type"),
    [
        ("/v1/chat", "cohere_v1_chat.json", "application/json"),
        ("/v1/chat", "cohere_v1_chat.ndjson", "application/stream+json"),
        ("/v1/embed", "cohere_v1_embed.json", "application/json"),
        ("/v1/rerank", "cohere_v1_rerank.json", "application/json"),
        ("/v1/classify", "cohere_classify.json", "application/json"),
    ],
)
async def test_model_of_cohere_is_named_only_in_the_request(event_of, path, golden, media_type):
    chunks = [(GOLDEN / golden).read_bytes()]
    for prompt in ("Hi", "x" * 200_000):
        sent = {
            "json": {"message": prompt, "chat_history": [{"role": "USER", "message": prompt}], "model": "command-r"}
        }
        event = await event_of(answering(chunks=chunks, media_type=media_type), path, **sent)
        assert (event["model"], event["provider"], event["usage_status"]) == ("command-r", "cohere", "reported")


async def test_interrupted_stream_is_estimated(event_of):
    chunk = {"model": "gpt-4o", "choices": [{"index": 0, "delta": {"content": "Hi"}}]}
    comments = b": keep-alive\n\n" * 50
    events = f"data: {json.dumps(chunk)}\n\n".encode() * 200
    assert told(await event_of(answering(chunks=[comments, events]), content=b"x" * 40)) == ("estimated", 10, 200)


def lines(*documents):
    return b"".join(json.dumps(one).encode() + b"\n" for one in documents)


OLLAMA = {"model": "llama3.2", "message": {"role": "assistant", "content": "Hi"}, "done": False}
COHERE = [{"event_type": "stream-start"}, *[{"event_type": "text-generation", "text": "Hi"}] * 29]
CONVERSE = [
    message({"role": "assistant"}, event_type="messageStart"),
    *[message({"delta": {"text": "Hi"}}, event_type="contentBlockDelta")] * 29,
]
STREAM_GEMINI = "/v1beta/models/gemini-2.5-flash:streamGenerateContent"
GEMINI = {"candidates": [{"content": {"parts": [{"text": "Hi"}]}}], "modelVersion": "gemini-2.5-flash"}
CUT = [  # streams other than SSE that end before their counts: 30 documents each
    pytest.param("/api/chat", "application/x-ndjson", lines(*[OLLAMA] * 30), id="ollama"),
    pytest.param("/v1/chat", "application/stream+json", lines(*COHERE), id="cohere"),
    pytest.param(
        "/model/amazon.nova-lite-v1:0/converse-stream",
        "application/vnd.amazon.eventstream",
        b"".join(CONVERSE),
        id="bedrock",
    ),
    pytest.param(STREAM_GEMINI, "application/json", json.dumps([GEMINI] * 30).encode(), id="gemini"),
    pytest.param(STREAM_GEMINI, "application/json", json.dumps([GEMINI] * 31).encode()[:-50], id="gemini-cut"),
    pytest.param("/ask", "application/json", json.dumps([GEMINI] * 30).encode(), id="gemini-elsewhere"),
    pytest.param("/v1/chat/completions", "text/plain", b'data: {"model": "m", "choices": []}\n\n' * 30, id="text"),
    pytest.param("/v1/chat/completions", "application/json", lines(*[OLLAMA] * 30), id="json"),
]


@pytest.mark.parametrize(("path", "media_type", "sent"), CUT)
@pytest.mark.parametrize("limits", [(), ({"name": "tokens", "unit": "token", "amount": 100_000, "period": "month"},)])
async def test_stream_in_any_format_without_counts_is_estimated(service, guard, visit, path, media_type, sent, limits):
    _, token = service.key(*limits)
    body = b'{"model":"command-r","message":"' + b"x" * 66 + b'"}'
    app = guard(answering(chunks=[sent[:40], sent[40:]], media_type=media_type))
    await visit(app, token, path, method="POST", content=body)
    app._process.stop()
    (event,) = service.events(1)
    assert (*told(event), event["messages"]) == ("estimated", 25, 30, 30)


async def test_truncated_array_has_the_counts_of_its_complete_elements(event_of):
    sent = (GOLDEN / "gemini_stream.json").read_bytes()
    event = await event_of(
        answering(chunks=[sent[: sent.rindex(b'"candidatesTokenCount"')]], media_type="application/json"), STREAM_GEMINI
    )
    assert (*told(event), event["model"]) == ("partial", 8, 44, "gemini-2.5-flash")


@pytest.mark.parametrize(("path", "media_type", "sent"), CUT)
async def test_no_stream_is_estimated_if_turned_off(event_of, monkeypatch, path, media_type, sent):
    monkeypatch.setenv("KEYGAUGE_ESTIMATE_USAGE", "0")
    event = await event_of(answering(chunks=[sent], media_type=media_type), path, content=b"{}")
    assert told(event) == ("none", None, None)


@pytest.mark.parametrize(
    ("method", "path", "sent"),
    [
        ("POST", "/api/pull", {"status": "pulling"}),
        ("POST", "/export", {"row": 1}),
        ("GET", "/v1/files/file_1/content", {"model": "gpt-4o"}),
        ("GET", "/export", {"model": "Golf"}),
    ],
)
async def test_lines_that_are_not_a_models_answer_are_not_estimated(event_of, method, path, sent):
    event = await event_of(answering(chunks=[lines(sent, sent, sent)], media_type="application/x-ndjson"), path, method)
    assert told(event) == ("none", None, None)


@pytest.mark.parametrize(
    ("model", "provider"), [("gpt-4o", "openai"), ("deepseek-chat", "deepseek"), ("grok-4", "x_ai"), ("house", None)]
)
async def test_estimated_stream_has_the_provider_of_its_models_name(event_of, model, provider):
    chunk = {"model": model, "choices": [{"index": 0, "delta": {"content": "Hi"}}]}
    event = await event_of(answering(chunks=[f"data: {json.dumps(chunk)}\n\n"] * 9), content=b"x" * 40)
    assert (event["usage_status"], event["provider"]) == ("estimated", provider)


async def test_interrupted_message_is_estimated_by_its_events(event_of):
    start = {"type": "message_start", "message": {"model": "claude", "usage": {"input_tokens": 25, "output_tokens": 1}}}
    delta = {"type": "content_block_delta", "delta": {"text": "Hi"}}
    events = [f"data: {json.dumps(one)}\n\n".encode() for one in [start, *[delta] * 30]]
    assert told(await event_of(answering(chunks=events))) == ("estimated", 25, 31)


async def test_comments_are_not_estimated(event_of):
    event = await event_of(answering(chunks=[b": keep-alive\n\n" * 50]), content=b"x" * 40)
    assert (*told(event), event["messages"]) == ("estimated", 10, 0, 0)


async def test_stream_of_other_data_is_not_estimated(event_of):
    event = await event_of(answering(chunks=[b"data: news\n\n"] * 9), "/news", method="GET")
    assert (*told(event), event["messages"]) == ("none", None, None, 9)


async def test_counts_in_headers_are_read(event_of):
    headers = {"x-prompt-tokens": "5", "x-generated-tokens": "6"}
    assert told(await event_of(answering([{"generated_text": "x"}], headers=headers))) == ("reported", 5, 6)


async def test_counts_in_trailers_are_read(service, guard, visit):
    _, token = service.key()

    async def host(scope, receive, send):
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers, "trailers": True})
        await send({"type": "http.response.body", "body": b"{}"})
        trailers = [(b"X-Prompt-Tokens", b"5"), (b"x-generated-tokens", b"6")]
        await send({"type": "http.response.trailers", "headers": trailers})

    app = guard(host)
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message["type"])

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/chat",
        "headers": [(b"authorization", b"Bearer " + token.encode())],
    }
    await app(scope, receive, send)
    app._process.stop()
    assert told(service.events(1)[0]) == ("reported", 5, 6)
    assert sent[-1] == "http.response.trailers"


@pytest.mark.parametrize(
    "last",
    [
        b'error: {"message": "overloaded"}\n\n',
        b'event: error\ndata: {"message": "x"}\n\n',
        b'data: {"object": "error", "message": "x", "code": 40303}\n\n',
        b'data: {"choices": [{"finish_reason": "error"}]}\n\n',
        b'data: {"object": "thread.run", "status": "failed", "last_error": {"code": "x"}}\n\n',
        b'data: {"event_type": "interaction.complete", "interaction": {"status": "failed", "usage": {"error": 1}}}\n\n',
        b'data: {"type": "conversation.response.error", "message": "x", "code": 1}\n\n',
        b'data: {"type": "message-end", "delta": {"finish_reason": "ERROR", "usage": {"tokens": {}}}}\n\n',
    ],
)
async def test_stream_with_an_error_has_failed(event_of, last):
    chunk = b'data: {"model": "m", "choices": [{"delta": {"content": "x"}}]}\n\n'
    event = await event_of(answering(chunks=[chunk, last]))
    assert (event["status"], event["error"]) == (500, "stream_error")


@pytest.mark.parametrize(
    ("document", "usage"),
    [
        ({"error": {"code": 502, "message": "Provider returned error"}, "user_id": "u"}, ("none", None, None)),
        ({"object": "error", "message": "x", "code": 40303}, ("none", None, None)),
        (
            {"id": "g", "model": "x/y", "choices": [{"finish_reason": "error"}], "usage": USAGE},
            ("reported", 11, 7),
        ),
        (
            {"id": "c", "finish_reason": "ERROR", "usage": {"tokens": {"input_tokens": 3, "output_tokens": 4}}},
            ("reported", 3, 4),
        ),
    ],
)
async def test_200_answer_with_an_error_has_failed(event_of, document, usage):
    event = await event_of(answering(document))
    assert (event["status"], event["error"], told(event)) == (500, "error_in_answer", usage)


async def test_cached_tokens_in_a_header_are_counted(event_of):
    document = {"model": "accounts/fireworks/models/kimi-k2", "choices": [], "usage": USAGE}
    event = await event_of(answering(document, headers={"Fireworks-Cached-Prompt-Tokens": "8"}))
    assert (told(event), event["cache_read_tokens"]) == (("reported", 11, 7), 8)


@pytest.mark.parametrize(
    ("media_type", "chunks", "path", "stream"),
    [
        ("application/x-ndjson", [b'{"error": "model not found"}\n'], "/api/chat", "ndjson"),
        (
            "application/vnd.amazon.eventstream",
            [message({"message": "slow down"}, exception_type="throttlingException", message_type="exception")],
            "/model/amazon.nova-lite-v1:0/converse-stream",
            "eventstream",
        ),
    ],
)
async def test_error_in_a_stream_other_than_sse_fails_the_call(event_of, media_type, chunks, path, stream):
    event = await event_of(answering(chunks=chunks, media_type=media_type), path)
    assert (event["status"], event["error"], event["stream"]) == (500, "error_in_answer", stream)


@pytest.mark.parametrize(
    ("path", "method"), [("/v1/responses/resp_1", "GET"), ("/cars", "POST"), ("/mcp", "POST"), ("/v1/batches", "POST")]
)
async def test_error_shown_in_an_answer_is_not_the_calls_own(event_of, path, method):
    event = await event_of(answering({"error": {"code": "x"}, "status": "failed"}), path, method)
    assert (event["status"], event["error"]) == (200, None)


async def test_json_rpc_error_is_an_answer(event_of):
    chunk = b'event: message\ndata: {"jsonrpc": "2.0", "id": 1, "error": {"code": -32601, "message": "x"}}\n\n'
    event = await event_of(answering(chunks=[chunk]), "/mcp")
    assert (event["status"], event["error"], event["usage_status"]) == (200, None, "none")


async def test_time_to_first_token_is_measured_at_the_first_content(service, guard):
    _, token = service.key()
    seen = []

    async def host(scope, receive, send):
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        role = b'data: {"model": "m", "choices": [{"delta": {"role": "assistant", "content": ""}}]}\n\n'
        content = b'data: {"model": "m", "choices": [{"delta": {"content": "Hi"}}]}\n\n'
        for chunk in (b": keep-alive\n\n", b'data: {"type": "ping"}\n\n', role, content):
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            seen.append(scope["keygauge"].first_byte_ns > 0)
        await send({"type": "http.response.body", "body": b""})

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        pass

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/chat",
        "headers": [(b"authorization", b"Bearer " + token.encode())],
    }
    await guard(host)(scope, receive, send)
    assert seen == [False, False, False, True]


async def test_usage_on_ollamas_management_paths_is_charged_to_the_app(event_of):
    event = await event_of(answering({"model": "gpt-4o", "choices": [], "usage": USAGE}), "/api/create", json={"a": 1})
    assert told(event) == ("reported", 11, 7)
    assert event["cost_nanousd"]


async def test_model_named_only_in_the_request_determines_the_provider(event_of):
    host = answering({"created": 1, "data": [{"b64_json": "aGk="}]})
    event = await event_of(host, "/v1/images/generations", json={"model": "grok-2-image", "prompt": "x"})
    assert (event["model"], event["provider"], event["details"]) == ("grok-2-image", "x_ai", {"images": 1})


@pytest.mark.parametrize("media_type", ["text/plain", "text/html", "application/json", "text/json", ""])
async def test_stream_with_any_media_type_is_charged(event_of, media_type):
    last = {"id": "c", "model": "gpt-4o", "choices": [], "usage": USAGE}
    chunks = [f"data: {json.dumps(document)}\n\n" for document in ({**last, "usage": None}, last)]
    host = answering(chunks=chunks, media_type=media_type or " ")
    event = await event_of(host, json={"model": "gpt-4o"})
    assert (*told(event), event["model"]) == ("reported", 11, 7, "gpt-4o")
    assert event["cost_nanousd"]


async def test_stream_with_only_an_error_is_not_estimated(event_of):
    chunks = ['event: error\ndata: {"type": "error", "error": {"type": "overloaded_error"}}\n\n']
    sent = {"model": "claude-sonnet-4-5", "messages": ["x" * 999]}
    event = await event_of(answering(chunks=chunks), "/v1/messages", json=sent)
    assert (*told(event), event["status"], event["error"]) == ("none", None, None, 500, "stream_error")


async def test_declined_attempt_is_a_separate_call(service, guard, visit):
    _, token = service.key()
    app = guard(answering(json.loads((GOLDEN / "anthropic_fallback.json").read_bytes())))
    await visit(app, token, "/v1/messages", method="POST", json={"model": "claude-fable-5"})
    app._process.stop()
    events = {event["model"]: event for event in service.events(2)}
    assert told(events["claude-opus-4-8"]) == ("reported", 79216, 13658)
    assert told(events["claude-fable-5"]) == ("reported", 83192, 578)


async def test_a_path_parameter_names_the_model_of_an_answer_that_names_none(event_of):
    async def answer(_):
        return JSONResponse({"usage": USAGE})

    host = Starlette(routes=[Route("/gateway/{model_name}/chat", answer, methods=["POST"])])
    event = await event_of(host, "/gateway/gpt-4o/chat", content=b"{}")
    assert (event["model"], event["route"]) == ("gpt-4o", "/gateway/{model_name}/chat")
