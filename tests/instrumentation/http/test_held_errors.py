import pytest
from starlette.middleware.base import BaseHTTPMiddleware

from keygauge.call import SCOPE_MARK, Call
from keygauge.http import held_errors


@pytest.fixture
def passing():
    """`await passing(app)` sends one call through a Starlette middleware, and returns the call and what was raised."""
    before = BaseHTTPMiddleware.__call__
    held_errors.follow()

    async def passing(app, **scope):
        async def dispatch(request, call_next):
            return await call_next(request)

        call = Call(method="GET", ip=None, time_ns=0, started_ns=0)
        sent = []

        async def send(message):
            sent.append(message)

        async def receive():
            return {"type": "http.request", "body": b"", "more_body": False}

        told = {"type": "http", "method": "GET", "path": "/", "headers": [], SCOPE_MARK: call} | scope
        try:
            await BaseHTTPMiddleware(app, dispatch=dispatch)(told, receive, send)
        except ValueError:
            sent.append("raised")
        return call, sent

    yield passing
    BaseHTTPMiddleware.__call__ = before


async def begin(send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"a", "more_body": True})


async def test_exception_after_the_answers_start_is_recorded_when_raised(passing):
    async def app(scope, receive, send):
        await begin(send)
        raise ValueError("amid the answer")

    call, _ = await passing(app)
    assert call.raised == "ValueError"


async def test_exception_before_the_answers_start_is_passed_on(passing):
    async def app(scope, receive, send):
        raise ValueError("before")

    call, sent = await passing(app)
    assert (call.raised, sent) == (None, ["raised"])


async def test_nothing_is_recorded_for_complete_answers_or_unmetered_calls(passing):
    async def app(scope, receive, send):
        await begin(send)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    call, sent = await passing(app)
    assert call.raised is None
    assert sent[0]["status"] == 200
    other, _ = await passing(app, **{SCOPE_MARK: None})
    assert other.raised is None


def test_follow_is_safe_to_repeat(passing):
    once = BaseHTTPMiddleware.__call__
    held_errors.follow()
    assert BaseHTTPMiddleware.__call__ is once
