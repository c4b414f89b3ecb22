"""The app in FastAPI."""

from fastapi import FastAPI
from starlette.responses import StreamingResponse

from hosts import CHAT, ENDLESS, SSE, Host, alines


def make():
    app, sub = FastAPI(), FastAPI()

    @app.get("/items/{n}")
    @sub.get("/items/{n}")
    def item(n: int):
        return CHAT

    @app.get("/stream")
    async def stream():
        return StreamingResponse(alines(), media_type=SSE)

    @app.get("/endless")
    async def endless():
        return StreamingResponse(alines(ENDLESS), media_type=SSE)

    @app.get("/fail")
    def fail():
        raise LookupError

    app.mount("/sub/{tenant}", sub)
    return Host(app)
