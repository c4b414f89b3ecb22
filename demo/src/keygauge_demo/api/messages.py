"""Anthropic's Messages: `POST /v1/messages`, JSON and SSE."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, Literal

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, Field

from keygauge_demo.api.answers import Answer, compose
from keygauge_demo.api.catalog import MODELS

PIECES_PER_DELTA = 3
OVERLOADED = 529

router = APIRouter()

Content = str | list[dict[str, Any]]


class Message(BaseModel):
    """One turn of the conversation."""

    role: Literal["user", "assistant", "system"]
    content: Content


class Request(BaseModel):
    """The part of a messages request that the demo reads."""

    model: str
    max_tokens: int = Field(ge=1)
    messages: list[Message] = Field(min_length=1)
    system: Content = ""
    temperature: float | None = Field(default=None, ge=0, le=1)
    stream: bool = False


@router.post("/v1/messages")
async def create_message(request: Request) -> Response:
    """Answer a message."""
    model = MODELS.get(request.model)
    if model is None or model.provider != "anthropic":
        return refuse(404, f"model: {request.model}", kind="not_found_error")
    contents = (request.system, *(message.content for message in request.messages))
    answer = compose(model, [text for text in map(_text, contents) if text], cap_tokens=request.max_tokens)
    await asyncio.sleep(answer.first_token_s)
    if answer.fails:
        return refuse(OVERLOADED, "Overloaded", kind="overloaded_error")
    if request.stream:
        return StreamingResponse(_stream(model.id, answer), media_type="text/event-stream")
    await asyncio.sleep(answer.token_s * answer.output_tokens)
    message = _message(model.id, answer)
    message["content"] = [{"type": "text", "text": answer.text}]
    message["stop_reason"] = _stop_reason(answer)
    return JSONResponse(message, headers=_headers(answer))


def refuse(status: int, message: str, *, kind: str) -> JSONResponse:
    """Build an error in the format of the anthropic SDK."""
    return JSONResponse({"type": "error", "error": {"type": kind, "message": message}}, status)


async def _stream(model: str, answer: Answer) -> AsyncIterator[str]:
    # Like the real service: input counts come first, with one output token; the final output count comes last.
    start = _message(model, answer)
    start["usage"] |= {"output_tokens": 1}
    yield _event("message_start", {"message": start})
    yield _event("content_block_start", {"index": 0, "content_block": {"type": "text", "text": ""}})
    yield _event("ping", {})
    for first in range(0, len(answer.pieces), PIECES_PER_DELTA):
        pieces = answer.pieces[first : first + PIECES_PER_DELTA]
        await asyncio.sleep(answer.token_s * len(pieces))
        yield _event("content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": "".join(pieces)}})
    yield _event("content_block_stop", {"index": 0})
    delta = {"stop_reason": _stop_reason(answer), "stop_sequence": None}
    yield _event("message_delta", {"delta": delta, "usage": {"output_tokens": answer.output_tokens}})
    yield _event("message_stop", {})


def _message(model: str, answer: Answer) -> dict[str, Any]:
    return {
        "id": f"msg_{answer.id}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": _usage(answer),
    }


def _usage(answer: Answer) -> dict[str, Any]:
    """Count like Anthropic: `input_tokens` excludes cached tokens."""
    return {
        "input_tokens": answer.input_tokens - answer.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": answer.cached_tokens,
        "output_tokens": answer.output_tokens,
        "service_tier": "standard",
    }


def _text(content: Content) -> str:
    if isinstance(content, str):
        return content
    return " ".join(block["text"] for block in content if isinstance(block.get("text"), str))


def _stop_reason(answer: Answer) -> str:
    return "max_tokens" if answer.cut else "end_turn"


def _headers(answer: Answer) -> dict[str, str]:
    return {"request-id": f"req_{answer.id}"}


def _event(kind: str, data: dict[str, Any]) -> str:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **data}, separators=(',', ':'))}\n\n"
