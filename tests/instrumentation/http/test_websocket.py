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


def test_session_is_one_call_with_its_messages_and_usage(service, guard):
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


def test_usage_of_a_sessions_responses_is_summed(service, guard):
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
    (event,) = service.events(1)
    assert (event["usage_status"], event["input_tokens"], event["output_tokens"]) == ("reported", 40, 20)
    assert event["details"] == {"input_audio": 16, "cache_read_audio": 8, "output_audio": 18}
    assert (event["model"], event["provider"], event["error"]) == ("gpt-realtime", "openai", None)


TOKENS = {"name": "tokens", "unit": "token", "amount": 1_000_000, "period": "month"}


def used(service):
    rows = service.connection.execute("SELECT cells FROM limit_state").fetchall()
    return sum(sum(row["cells"]) for row in rows)


def is_charged(service, count):
    """Wait until the key service knows that so much was used."""
    deadline = time.monotonic() + 60
    while used(service) < count and time.monotonic() < deadline:
        time.sleep(0.02)
    return used(service) >= count


def hear(service, guard, messages, *, path="/v1/realtime?model=gpt-realtime", during=lambda: None):
    """Serve one session that sends messages, and return its event."""

    async def session(websocket):
        await websocket.accept()
        for message in messages:
            send = websocket.send_bytes if isinstance(message, bytes) else websocket.send_json
            await send(message)
        await websocket.receive_text()
        await websocket.close()

    _, token = service.key(TOKENS)
    app = guard(Starlette(routes=[WebSocketRoute("/{path:path}", session)]))
    with TestClient(app).websocket_connect(path, headers={"authorization": f"Bearer {token}"}) as client:
        for _ in messages:
            client.receive()
        during()
        client.send_text("end")
        client.receive()
    app._process.stop()
    return service.events(1)[0]


def done(number, given, made):
    usage = {"total_tokens": given + made, "input_tokens": given, "output_tokens": made}
    return {"type": "response.done", "response": {"id": f"resp_{number}", "usage": usage}}


def test_each_response_of_a_session_is_charged_while_it_goes_on(service, guard):
    seen = []
    messages = [done(1, 2000, 100), done(2, 30_000, 500), done(3, 50_000, 700)]
    event = hear(service, guard, messages, during=lambda: seen.append(is_charged(service, 83_300)))
    assert seen == [True]
    assert (event["input_tokens"], event["output_tokens"]) == (82_000, 1300)
    assert used(service) == 83_300


def test_what_an_app_states_in_a_session_is_charged_once(service, guard):
    _, token = service.key(TOKENS)
    app = guard(host())
    with TestClient(app).websocket_connect("/talk/blue", headers={"authorization": f"Bearer {token}"}) as session:
        for word in ("a", "bb", "ccc" * 1000):
            session.send_text(word)
            session.receive_text()
        session.receive()
    app._process.stop()
    assert used(service) == 1 + 2 + 3000 + 3


def test_turns_of_a_live_session_are_summed(service, guard):
    def turn(given, made):
        usage = {"promptTokenCount": given, "responseTokenCount": made, "totalTokenCount": given + made}
        return json.dumps({"serverContent": {"turnComplete": True}, "usageMetadata": usage}).encode()

    event = hear(service, guard, [turn(100, 20), turn(150, 30)], path="/live?model=gemini-live-2.5-flash")
    assert (event["input_tokens"], event["output_tokens"], event["model"]) == (250, 50, "gemini-live-2.5-flash")


def test_transcriptions_by_the_second_are_summed(service, guard):
    def heard(number, seconds):
        kind = "conversation.item.input_audio_transcription.completed"
        return {"type": kind, "item_id": f"item_{number}", "usage": {"type": "duration", "seconds": seconds}}

    event = hear(service, guard, [heard(1, 9), heard(2, 4.2)])
    assert event["details"] == {"seconds": 14}


@pytest.mark.parametrize(("code", "status", "error"), [(1011, 500, "websocket_1011"), (1013, 500, "websocket_1013")])
def test_a_session_that_the_app_ends_as_failed_has_failed(service, guard, code, status, error):
    async def fail(websocket):
        await websocket.accept()
        await websocket.close(code)

    _, token = service.key()
    client = TestClient(guard(Starlette(routes=[WebSocketRoute("/fail", fail)])))
    with client.websocket_connect("/fail", headers={"authorization": f"Bearer {token}"}) as session:
        assert session.receive()["code"] == code
    (event,) = service.events(1)
    assert (event["status"], event["error"]) == (status, error)


def test_client_that_leaves_ends_the_session(service, guard):
    _, token = service.key()
    with pytest.raises(WebSocketDisconnect):  # the host's own, passed on
        _say_one_word(TestClient(guard(host())), token)
    (event,) = service.events(1)
    assert (event["messages"], event["input_tokens"]) == (1, 1)


def test_handshake_without_a_key_is_refused_with_the_problem(service, guard):
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


def _say_one_word(client, token):
    with client.websocket_connect("/talk/blue", headers={"x-api-key": token}) as session:
        session.send_text("a")
        session.receive_text()


@pytest.mark.parametrize(
    ("opening", "path", "model", "provider"),
    [
        ({"setup": {"model": "models/gemini-2.5-flash"}}, "/live", "models/gemini-2.5-flash", None),
        ({"type": "session.update", "session": {"model": "gpt-realtime"}}, "/v1/realtime", "gpt-realtime", "openai"),
        (
            *({"type": "session.update", "session": {"model": "gpt-realtime"}}, "/v1/realtime?model=gpt-realtime-mini"),
            *("gpt-realtime-mini", "openai"),
        ),
        ({"text": "no model"}, "/v1/realtime", None, "openai"),
    ],
)
def test_a_session_is_of_the_model_that_its_client_names(service, guard, opening, path, model, provider):
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
