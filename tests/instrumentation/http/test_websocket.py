"""WebSocket sessions through the ASGI middleware."""

import json
import time

import pytest
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect

from keygauge import current


async def talk(websocket):
    await websocket.accept()
    for _ in range(3):
        text = await websocket.receive_text()
        current().record_usage(input_tokens=len(text), output_tokens=1, model="realtime")
        await websocket.send_text(text.upper())
    await websocket.close()


def host():
    return Starlette(routes=[WebSocketRoute("/talk/{room}", talk)])


def test_session_is_one_call_with_messages_and_usage(service, guard):
    made, token = service.key()
    client = TestClient(guard(host()))
    with client.websocket_connect("/talk/blue", headers={"authorization": f"Bearer {token}"}) as session:
        for word in ("a", "bb", "ccc"):
            session.send_text(word)
            assert session.receive_text() == word.upper()
    (event,) = service.events(1)
    assert (event["key_id"], event["route"], event["status"]) == (made.id, "/talk/{room}", 101)
    assert (event["stream"], event["messages"], event["request_bytes"], event["response_bytes"]) == (
        "websocket",
        3,
        6,
        6,
    )
    assert (event["input_tokens"], event["output_tokens"], event["model"]) == (6, 3, "realtime")
    assert event["error"] is None


def test_each_response_of_a_session_is_a_separate_call(service, guard):
    def response(number):
        usage = {
            "total_tokens": 30,
            "input_tokens": 20,
            "output_tokens": 10,
            "input_token_details": {
                "audio_tokens": 12,
                "cached_tokens": 5,
                "cached_tokens_details": {"audio_tokens": 4},
            },
            "output_token_details": {"audio_tokens": 9},
        }
        return {"type": "response.done", "response": {"id": f"resp_{number}", "usage": usage}}

    async def realtime(websocket):
        await websocket.accept()
        await websocket.send_json({"type": "session.created", "session": {"model": "gpt-realtime"}})
        for number in (1, 2):
            await websocket.send_json({"type": "response.output_audio.delta", "delta": "AAAA"})
            await websocket.send_json(response(number))
        await websocket.send_json({"type": "error", "error": {"type": "invalid_request_error"}})
        await websocket.close()

    _, token = service.key()
    client = TestClient(guard(Starlette(routes=[WebSocketRoute("/v1/realtime", realtime)])))
    headers = {"authorization": f"Bearer {token}"}
    with client.websocket_connect("/v1/realtime?model=gpt-realtime", headers=headers) as session:
        for _ in range(6):
            session.receive_json()
    first, last = sorted(service.events(2), key=lambda event: event["messages"])
    for event in (first, last):
        assert (event["usage_status"], event["input_tokens"], event["output_tokens"]) == ("reported", 20, 10)
        assert event["details"] == {"input_audio": 8, "cache_read_audio": 4, "output_audio": 9}
        assert (event["model"], event["provider"], event["error"]) == ("gpt-realtime", "openai", None)
    assert (first["messages"], first["response_bytes"], first["stream"]) == (0, 0, None)
    assert (last["messages"], last["stream"]) == (6, "websocket")


TOKENS = {"name": "tokens", "unit": "token", "amount": 1_000_000, "period": "month"}


def used(service):
    rows = service.connection.execute("SELECT cells FROM limit_state").fetchall()
    return sum(sum(row["cells"]) for row in rows)


def is_charged(service, count):
    """Wait until the key service has recorded this much usage."""
    deadline = time.monotonic() + 60
    while used(service) < count and time.monotonic() < deadline:
        time.sleep(0.02)
    return used(service) >= count


BUDGET = {"name": "budget", "unit": "nanousd", "amount": 10**12, "period": "month"}


def hear(
    service, guard, messages, *, path="/v1/realtime?model=gpt-realtime", during=lambda: None, count=1, limit=TOKENS
):
    """Serve one session that sends messages, and return its events, the session's own last."""

    async def session(websocket):
        await websocket.accept()
        for message in messages:
            send = websocket.send_bytes if isinstance(message, bytes) else websocket.send_json
            await send(message)
        await websocket.receive_text()
        await websocket.close()

    _, token = service.key(limit)
    app = guard(Starlette(routes=[WebSocketRoute("/{path:path}", session)]))
    with TestClient(app).websocket_connect(path, headers={"authorization": f"Bearer {token}"}) as client:
        for _ in messages:
            client.receive()
        during()
        client.send_text("end")
        client.receive()
    app._process.stop()
    return sorted(service.events(count), key=lambda event: (event["messages"], event["input_tokens"] or 0))


def done(number, given, made, **response):
    usage = {"total_tokens": given + made, "input_tokens": given, "output_tokens": made}
    return {"type": "response.done", "response": {"id": f"resp_{number}", "usage": usage} | response}


def told(events):
    return [(event["model"], event["input_tokens"], event["output_tokens"]) for event in events]


def test_each_response_is_charged_during_the_session(service, guard):
    seen = []
    messages = [done(1, 2000, 100), done(2, 30_000, 500), done(3, 50_000, 700)]
    events = hear(service, guard, messages, during=lambda: seen.append(is_charged(service, 83_300)), count=3)
    assert seen == [True]
    assert [event["input_tokens"] for event in events] == [2000, 30_000, 50_000]
    assert used(service) == 83_300


POINTS = {
    "name": "points",
    "unit": "weighted",
    "unit_name": "points",
    "weights": {"request": 10_000, "output": 1},
    "amount": 1_000_000,
    "period": "month",
}


def test_the_weight_of_a_request_counts_once_for_a_session(service, guard):
    seen = []
    messages = [done(1, 2000, 100), done(2, 3000, 500), done(3, 5000, 700)]
    hear(service, guard, messages, during=lambda: seen.append(is_charged(service, 11_300)), count=3, limit=POINTS)
    assert (seen, used(service)) == ([True], 11_300)


def test_the_weight_of_a_request_counts_once_for_a_session_of_two_stated_models(service, guard):
    assert used_for_two_stated_models(service, guard, POINTS) == 10_003


def test_each_model_of_a_session_has_its_own_rates(service, guard):
    def completed(number, model, given, made):
        document = done(number, given, made, model=model)
        return document | {"type": "response.completed"}

    messages = [completed(1, "gpt-4o", 1000, 100), completed(2, "gpt-4.1-nano", 1000, 100)]
    events = hear(service, guard, messages, path="/v1/responses", count=2)
    costs = {event["model"]: event["cost_nanousd"] for event in events}
    assert costs == {"gpt-4o": 3_500_000, "gpt-4.1-nano": 140_000}
    assert used(service) == 2200


def test_budget_is_charged_for_each_model_of_a_session_at_its_own_rates(service, guard):
    messages = [
        done(number, 1000, 100, model=model) | {"type": "response.completed"}
        for number, model in enumerate(["gpt-4o", "gpt-4.1-nano", "gpt-4o"])
    ]
    seen = []
    hear(
        *(service, guard, messages),
        path="/v1/responses?model=gpt-4o",
        during=lambda: seen.append(is_charged(service, 7_140_000)),
        count=3,
        limit=BUDGET,
    )
    assert seen == [True]
    assert used(service) == 7_140_000


def test_transcriptions_in_a_session_count_for_the_transcription_model(service, guard):
    usage = {"type": "tokens", "total_tokens": 1100, "input_tokens": 1000, "output_tokens": 100}
    kind = "conversation.item.input_audio_transcription.completed"
    session = {"model": "gpt-realtime", "audio": {"input": {"transcription": {"model": "gpt-4o-transcribe"}}}}
    noise = [{"type": "input_audio_buffer.committed"}] * 6
    messages = [
        *noise,
        {"type": "session.updated", "session": session},
        {"type": kind, "item_id": "item_1", "usage": usage},
        done(1, 20, 10),
    ]
    events = hear(service, guard, messages, count=2)
    assert told(events) == [("gpt-4o-transcribe", 1000, 100), ("gpt-realtime", 20, 10)]


def used_for_two_stated_models(service, guard, limit):
    async def talk(websocket):
        await websocket.accept()
        for model in ("gpt-4o", "gpt-4.1-nano", "gpt-4o"):
            current().record_usage(input_tokens=100, output_tokens=1, model=model)
            await websocket.send_text(model)
        await websocket.close()

    _, token = service.key(limit)
    app = guard(Starlette(routes=[WebSocketRoute("/talk", talk)]))
    with TestClient(app).websocket_connect("/talk", headers={"authorization": f"Bearer {token}"}) as session:
        for _ in range(4):
            session.receive()
    app._process.stop()
    events = sorted(service.events(2), key=lambda event: event["model"])
    assert told(events) == [("gpt-4.1-nano", 100, 1), ("gpt-4o", 200, 2)]
    return used(service)


def test_usage_stated_for_two_models_in_a_session_counts_for_each(service, guard):
    assert used_for_two_stated_models(service, guard, TOKENS) == 303


def test_usage_stated_in_a_session_is_charged_once(service, guard):
    _, token = service.key(TOKENS)
    app = guard(host())
    with TestClient(app).websocket_connect("/talk/blue", headers={"authorization": f"Bearer {token}"}) as session:
        for word in ("a", "bb", "ccc" * 1000):
            session.send_text(word)
            session.receive_text()
        session.receive()
    app._process.stop()
    assert used(service) == 1 + 2 + 3000 + 3


def test_each_turn_of_a_live_session_is_counted(service, guard):
    def turn(given, made):
        usage = {"promptTokenCount": given, "responseTokenCount": made, "totalTokenCount": given + made}
        return json.dumps({"serverContent": {"turnComplete": True}, "usageMetadata": usage}).encode()

    events = hear(service, guard, [turn(100, 20), turn(150, 30)], path="/live?model=gemini-live-2.5-flash", count=2)
    assert told(events) == [("gemini-live-2.5-flash", 100, 20), ("gemini-live-2.5-flash", 150, 30)]


def test_each_transcription_billed_per_second_is_counted(service, guard):
    def heard(number, seconds):
        kind = "conversation.item.input_audio_transcription.completed"
        return {"type": kind, "item_id": f"item_{number}", "usage": {"type": "duration", "seconds": seconds}}

    events = hear(service, guard, [heard(1, 9), heard(2, 4.2)], count=2)
    assert [event["details"] for event in events] == [{"seconds": 9}, {"seconds": 5}]


@pytest.mark.parametrize(("code", "status", "error"), [(1011, 500, "websocket_1011"), (1013, 500, "websocket_1013")])
def test_session_closed_by_the_app_with_an_error_has_failed(service, guard, code, status, error):
    async def fail(websocket):
        await websocket.accept()
        await websocket.close(code)

    _, token = service.key()
    client = TestClient(guard(Starlette(routes=[WebSocketRoute("/fail", fail)])))
    with client.websocket_connect("/fail", headers={"authorization": f"Bearer {token}"}) as session:
        assert session.receive()["code"] == code
    (event,) = service.events(1)
    assert (event["status"], event["error"]) == (status, error)


def test_leaving_client_ends_the_session(service, guard):
    _, token = service.key()
    with pytest.raises(WebSocketDisconnect):  # the host's exception, passed on
        _send_one_message(TestClient(guard(host())), token)
    (event,) = service.events(1)
    assert (event["messages"], event["input_tokens"]) == (1, 1)


def test_handshake_without_a_key_is_refused_with_a_problem(service, guard):
    with (
        pytest.raises(WebSocketDenialResponse) as refused,
        TestClient(guard(host())).websocket_connect("/talk/blue"),
    ):
        pass
    assert refused.value.status_code == 401
    assert refused.value.json()["code"] == "key_missing"


def test_session_is_refused_for_other_models(service, guard):
    _, token = service.key(models=["gpt-realtime"])
    client = TestClient(guard(host()))
    with client.websocket_connect("/talk/blue?model=gpt-realtime", headers={"x-api-key": token}) as session:
        for word in ("a", "b", "c"):
            session.send_text(word)
            session.receive_text()
    for query in ("", "?model=", "?model=gpt-4o", "?model=gpt-realtime&model=gpt-4o"):
        with (
            pytest.raises(WebSocketDenialResponse) as refused,
            client.websocket_connect(f"/talk/blue{query}", headers={"x-api-key": token}),
        ):
            pass
        assert refused.value.json()["code"] == "model_not_allowed"


def _send_one_message(client, token):
    with client.websocket_connect("/talk/blue", headers={"x-api-key": token}) as session:
        session.send_text("a")
        session.receive_text()


@pytest.mark.parametrize(
    ("opening", "path", "model", "provider"),
    [
        ({"setup": {"model": "models/gemini-2.5-flash"}}, "/live", "gemini-2.5-flash", None),
        ({"type": "session.update", "session": {"model": "gpt-realtime"}}, "/v1/realtime", "gpt-realtime", "openai"),
        (
            *({"type": "session.update", "session": {"model": "gpt-realtime"}}, "/v1/realtime?model=gpt-realtime-mini"),
            *("gpt-realtime-mini", "openai"),
        ),
        ({"text": "no model"}, "/v1/realtime", None, "openai"),
    ],
)
def test_model_of_a_session_is_the_one_the_client_names(service, guard, opening, path, model, provider):
    async def session(websocket):
        await websocket.accept()
        await websocket.receive_text()
        if provider:
            await websocket.send_json(done(1, 10, 5))
        else:
            usage = {"promptTokenCount": 10, "responseTokenCount": 5, "totalTokenCount": 15}
            await websocket.send_json({"usageMetadata": usage, "serverContent": {"turnComplete": True}})
        await websocket.close()

    _, token = service.key()
    app = guard(Starlette(routes=[WebSocketRoute("/{path:path}", session)]))
    with TestClient(app).websocket_connect(path, headers={"authorization": f"Bearer {token}"}) as client:
        client.send_json(opening)
        client.receive()
        client.receive()
    (event,) = service.events(1)
    assert (event["model"], event["provider"]) == (model, provider or "gcp.gemini")
    assert (event["input_tokens"], event["output_tokens"]) == (10, 5)
    assert (event["cost_nanousd"] is None) is (model is None)
