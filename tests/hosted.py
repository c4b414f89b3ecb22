"""The app of the framework named by HOST, behind the middleware; below /mnt it is mounted in another app."""

import os

from hosts import HOSTS, mount

from keygauge import asgi, wsgi

host = HOSTS[os.environ["HOST"]]()
outer = mount(host)


async def asgi_app(scope, receive, send):
    """Serve the app, or the outer app for paths below /mnt."""
    app = outer if scope.get("path", "").startswith("/mnt") else host.app
    await app(scope, receive, send)


def wsgi_app(environ, start_response):
    """Serve the app, or the outer app for paths below /mnt."""
    app = outer if environ["PATH_INFO"].startswith("/mnt") else host.app
    return app(environ, start_response)


app = asgi.KeyGaugeMiddleware(asgi_app) if host.is_asgi else wsgi.KeyGaugeMiddleware(wsgi_app)
