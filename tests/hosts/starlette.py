"""The app in Starlette."""

from starlette.applications import Starlette
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Mount, Route

from hosts import CHAT, ENDLESS, SSE, Host, alines


def make():
    async def item(request):
        return JSONResponse(CHAT)

    async def stream(request):
        return StreamingResponse(alines(), media_type=SSE)

    async def endless(request):
        return StreamingResponse(alines(ENDLESS), media_type=SSE)

    async def fail(request):
        raise LookupError

    own = [Route("/items/{n:int}", item), Route("/stream", stream), Route("/endless", endless), Route("/fail", fail)]
    return Host(Starlette(routes=[*own, Mount("/sub/{tenant}", routes=[Route("/items/{n:int}", item)])]))


def mount(app):
    return Starlette(routes=[Mount("/mnt", app)])
