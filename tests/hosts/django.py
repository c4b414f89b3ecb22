"""The app in Django, for ASGI and WSGI."""

import json
import sys
from types import ModuleType

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import include, path, re_path

from hosts import CHAT, ENDLESS, SSE, Host, alines, lines


def configure():
    """Configure Django, which has one set of URLs per process."""
    if settings.configured:
        return
    urls = ModuleType("keygauge_test_urls")

    def item(request, n, tenant=None):
        return HttpResponse(json.dumps(CHAT), content_type="application/json")

    def stream(request, *, count=None):
        chunks = alines(count) if hasattr(request, "scope") else lines(count)
        return StreamingHttpResponse(chunks, content_type=SSE)

    def fail(request):
        raise LookupError

    urls.urlpatterns = [
        path("items/<int:n>", item),
        path("stream", stream),
        path("endless", stream, {"count": ENDLESS}),
        path("fail", fail),
        path("sub/<tenant>/", include([re_path(r"^items/(?P<n>\d+)$", item)])),
    ]
    sys.modules[urls.__name__] = urls
    settings.configure(
        ALLOWED_HOSTS=["*"], ROOT_URLCONF=urls.__name__, SECRET_KEY="x" * 50, MIDDLEWARE=[], LOGGING_CONFIG=None
    )
    django.setup()


def make(*, is_asgi):
    configure()
    app = get_asgi_application() if is_asgi else get_wsgi_application()
    return Host(app, item="/items/<int:n>", sub_item=r"/sub/<tenant>/items/(?P<n>\d+)$", is_asgi=is_asgi)
