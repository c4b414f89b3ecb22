"""OpenAI's Chat Completions: `POST /v1/chat/completions`, JSON and SSE."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any, Literal

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, Field

from keygauge_demo.api.answers import Answer, compose
from keygauge_demo.api.catalog import MODELS

PIECES_PER_CHUNK = 3

router = APIRouter()


class Message(BaseModel):
    """One turn of the conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[dict[str, Any]] | None = None

    @property
    def text(self) -> str:
        """The text, without images and files."""
        if isinstance(self.content, list):
            return " ".join(part["text"] for part in self.content if isinstance(part.get("text"), str))
        return self.content or ""


class StreamOptions(BaseModel):
    """What a stream contains besides the answer."""

    include_usage: bool = False


class Request(BaseModel):
    """The part of a chat request that the demo reads."""

    model: str
    messages: list[Message] = Field(min_length=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    max_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    stream: bool = False
    stream_options: StreamOptions | None = None


@router.post("/v1/chat/completions")
async def create_completion(request: Request) -> Response:
    """Answer a chat."""
    model = MODELS.get(request.model)
    if model is None or model.provider != "openai":
        text = f"The model `{request.model}` does not exist or you do not have access to it."
        return refuse(404, text, kind="invalid_request_error", param="model", code="model_not_found")
    cap = request.max_completion_tokens or request.max_tokens
    answer = compose(model, [message.text for message in request.messages], cap_tokens=cap)
    await asyncio.sleep(answer.first_token_s)
    if answer.fails:
        return refuse(500, "The server had an error while processing your request.", kind="server_error")
    if request.stream:
        with_usage = request.stream_options is not None and request.stream_options.include_usage
        return StreamingResponse(_stream(model.id, answer, with_usage=with_usage), media_type="text/event-stream")
    await asyncio.sleep(answer.token_s * answer.output_tokens)
    return JSONResponse(_whole(model.id, answer))


def refuse(status: int, message: str, *, kind: str, param: str | None = None, code: str | None = None) -> JSONResponse:
    """Build an error in the format of the openai SDK."""
    return JSONResponse({"error": {"message": message, "type": kind, "param": param, "code": code}}, status)


def _whole(model: str, answer: Answer) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": answer.text, "refusal": None, "annotations": []}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(answer)}
    head = _head(model, answer, kind="chat.completion")
    return {**head, "choices": [choice], "usage": _usage(answer), "service_tier": "default"}


async def _stream(model: str, answer: Answer, *, with_usage: bool) -> AsyncIterator[str]:
    head = _head(model, answer, kind="chat.completion.chunk")
    tail = {"usage": None} if with_usage else {}
    yield _line({**head, "choices": [_delta({"role": "assistant", "content": ""})], **tail})
    for start in range(0, len(answer.pieces), PIECES_PER_CHUNK):
        pieces = answer.pieces[start : start + PIECES_PER_CHUNK]
        await asyncio.sleep(answer.token_s * len(pieces))
        yield _line({**head, "choices": [_delta({"content": "".join(pieces)})], **tail})
    yield _line({**head, "choices": [_delta({}, finish=_finish(answer))], **tail})
    if with_usage:
        yield _line({**head, "choices": [], "usage": _usage(answer)})
    yield "data: [DONE]\n\n"


def _head(model: str, answer: Answer, *, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{answer.id}", "object": kind, "created": int(time.time()), "model": model}


def _delta(delta: dict[str, str], *, finish: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}


def _finish(answer: Answer) -> str:
    return "length" if answer.cut else "stop"


def _usage(answer: Answer) -> dict[str, Any]:
    return {
        "prompt_tokens": answer.input_tokens,
        "completion_tokens": answer.output_tokens,
        "total_tokens": answer.input_tokens + answer.output_tokens,
        "prompt_tokens_details": {"cached_tokens": answer.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": answer.reasoning_tokens, "audio_tokens": 0},
    }


def _line(chunk: dict[str, Any]) -> str:
    return f"data: {json.dumps(chunk, separators=(',', ':'))}\n\n"
