"""ASGI types and a helper that the parts of a worker share."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, TypeAlias

from keygauge_keyservice.errors import Problem

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]


async def respond(send: Send, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> None:
    """Send a whole response."""
    headers = [*headers, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def send_problem(send: Send, problem: Problem) -> None:
    """Send a problem response."""
    headers = [(name.lower().encode(), value.encode()) for name, value in problem.headers.items()]
    body = json.dumps(problem.document()).encode()
    await respond(send, problem.status, [(b"content-type", b"application/problem+json"), *headers], body)


def busy(detail: str = "The key service is busy. Try again in a moment.") -> Problem:
    """Return the problem that there are too many requests."""
    return Problem(503, "busy", detail, headers={"Retry-After": "1"})


async def refuse(send: Send, status: int, code: str, detail: str) -> None:
    """Send a problem response without calling the app; the client may retry."""
    await send_problem(send, Problem(status, code, detail, headers={"Retry-After": "1"}))
