"""The app in Flask."""

from flask import Blueprint, Flask, Response
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from hosts import CHAT, ENDLESS, SSE, Host, lines


def make():
    app, sub = Flask("host"), Blueprint("sub", "sub")

    @app.get("/items/<int:n>")
    @sub.get("/items/<int:n>")
    def item(n, tenant=None):
        return CHAT

    @app.get("/stream")
    def stream():
        return Response(lines(), mimetype=SSE)

    @app.get("/endless")
    def endless():
        return Response(lines(ENDLESS), mimetype=SSE)

    @app.get("/fail")
    def fail():
        raise LookupError

    app.register_blueprint(sub, url_prefix="/sub/<tenant>")
    return Host(app.wsgi_app, item="/items/<int:n>", sub_item="/sub/<tenant>/items/<int:n>", is_asgi=False)


def mount(app):
    return DispatcherMiddleware(make().app, {"/mnt": app})
