"""The app in Quart."""

from quart import Blueprint, Quart, Response

from hosts import CHAT, ENDLESS, SSE, Host, alines


def make():
    app, sub = Quart("host"), Blueprint("sub", "sub")

    @app.get("/items/<int:n>")
    @sub.get("/items/<int:n>")
    async def item(n, tenant=None):
        return CHAT

    @app.get("/stream")
    async def stream():
        return Response(alines(), mimetype=SSE)

    @app.get("/endless")
    async def endless():
        return Response(alines(ENDLESS), mimetype=SSE)

    @app.get("/fail")
    async def fail():
        raise LookupError

    app.register_blueprint(sub, url_prefix="/sub/<tenant>")
    return Host(app, item="/items/<int:n>", sub_item="/sub/<tenant>/items/<int:n>")
