"""The app in Falcon, for ASGI and WSGI."""

import falcon
import falcon.asgi

from hosts import CHAT, ENDLESS, SSE, Host, alines, lines


class Resource:
    def on_get(self, request, response, n=None, tenant=None):
        if request.path == "/fail":
            raise LookupError
        if n is None:
            response.content_type = SSE
            response.stream = (line.encode() for line in lines(ENDLESS if request.path == "/endless" else None))
        else:
            response.media = CHAT


class AsyncResource:
    async def on_get(self, request, response, n=None, tenant=None):
        if request.path == "/fail":
            raise LookupError
        if n is None:
            response.sse = self.events(ENDLESS if request.path == "/endless" else None)
        else:
            response.media = CHAT

    async def events(self, count):
        async for line in alines(count):
            yield falcon.asgi.SSEvent(text=line.removeprefix("data: ").strip())


def make(*, is_asgi):
    app, resource = (falcon.asgi.App(), AsyncResource()) if is_asgi else (falcon.App(), Resource())
    for template in ("/items/{n:int}", "/stream", "/endless", "/fail", "/sub/{tenant}/items/{n:int}"):
        app.add_route(template, resource)
    return Host(app, item="/items/{n:int}", sub_item="/sub/{tenant}/items/{n:int}", is_asgi=is_asgi)
