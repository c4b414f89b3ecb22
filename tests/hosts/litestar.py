"""The app in Litestar."""

from litestar import Litestar, Router, get
from litestar.params import FromPath
from litestar.response import ServerSentEvent

from hosts import CHAT, DATA, ENDLESS, Host, alines


def make():
    @get("/items/{n:int}")
    async def item(n: FromPath[int]) -> dict:
        return CHAT

    @get("/stream")
    async def stream() -> ServerSentEvent:
        return ServerSentEvent(iter(DATA))

    @get("/endless")
    async def endless() -> ServerSentEvent:
        async def events():
            async for _ in alines(ENDLESS):
                yield DATA[0]

        return ServerSentEvent(events())

    @get("/fail")
    async def fail() -> None:
        raise LookupError

    sub = Router("/sub/{tenant:str}", route_handlers=[item])
    return Host(Litestar([item, stream, endless, fail, sub], openapi_config=None, logging_config=None))
