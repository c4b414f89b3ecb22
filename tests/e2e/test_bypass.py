"""Requests that the middleware and the app could read differently, on real servers: none bypasses a check."""

import socket

import environments
import pytest

APP = '''
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from keygauge import asgi as keygauge_asgi
from keygauge import wsgi as keygauge_wsgi


async def done(scope, receive, send):
    """Do whatever is asked, by any method and on any path."""
    body = await Request(scope, receive).body()
    await PlainTextResponse(b"done " + body)(scope, receive, send)


asgi = keygauge_asgi.KeyGaugeMiddleware(Starlette(routes=[Mount("/sub", done), Mount("/", done)]))


def all_of(stream):
    while part := stream.read(1000):
        yield part


def done_wsgi(environ, start_response):
    """Do whatever is asked, reading all that comes."""
    is_sized = environ.get("CONTENT_LENGTH") and not environ.get("wsgi.input_terminated")
    stream = environ["wsgi.input"]
    body = stream.read(int(environ["CONTENT_LENGTH"])) if is_sized else b"".join(all_of(stream))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done " + body]


wsgi = keygauge_wsgi.KeyGaugeMiddleware(done_wsgi)
'''
DJANGO = '''
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import include, re_path
from django.views.decorators.csrf import csrf_exempt

from keygauge import asgi as keygauge_asgi
from keygauge import wsgi as keygauge_wsgi

settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="of a test")


@csrf_exempt
def done(request):
    """Do whatever is asked, by any method and on any path."""
    return HttpResponse(b"done " + request.read(), content_type="text/plain")


urlpatterns = [re_path("^sub/", include([re_path("", done)])), re_path("", done)]
asgi = keygauge_asgi.KeyGaugeMiddleware(get_asgi_application())
wsgi = keygauge_wsgi.KeyGaugeMiddleware(get_wsgi_application())
'''
GUNICORN = ["gunicorn", "--bind", "127.0.0.1:{port}", "-k"]
SERVERS = {  # with the options for the client's address from docs/how-to/frameworks.md
    "uvicorn": ["uvicorn", "small:asgi", "--no-proxy-headers", "--port", "{port}"],
    "hypercorn": ["hypercorn", "small:asgi", "--bind", "127.0.0.1:{port}"],
    "hypercorn trio": ["hypercorn", "small:asgi", "-k", "trio", "--bind", "127.0.0.1:{port}"],
    "granian": ["granian", "small:asgi", "--interface", "asgi", "--port", "{port}"],
    "gunicorn": [*GUNICORN, "gthread", "small:wsgi"],
    "gunicorn asgi": [*GUNICORN, "asgi", "small:asgi"],
    "hypercorn wsgi": ["hypercorn", "wsgi:small:wsgi", "--bind", "127.0.0.1:{port}"],
    "granian wsgi": ["granian", "small:wsgi", "--interface", "wsgi", "--port", "{port}"],
    "waitress": ["waitress-serve", "--no-clear-untrusted-proxy-headers", "--listen", "127.0.0.1:{port}", "small:wsgi"],
    "daphne": ["python", "-m", "daphne", "-p", "{port}", "small:asgi"],
    "django on daphne": ["python", "-m", "daphne", "-p", "{port}", "site_of_django:asgi"],
    "django on gunicorn": [*GUNICORN, "gthread", "site_of_django:wsgi"],
}
ASKS = "Origin: https://site.example\r\nAccess-Control-Request-Method: POST"
OTHER = '{"model": "other"}'
SIZE = f"Content-Length: {len(OTHER)}"


def chunked(body):
    return f"{len(body):x}\r\n{body}\r\n0\r\n\r\n"


WITHOUT_A_KEY = {
    "preflight": ("OPTIONS /sub/chat", ASKS, ""),
    "preflight with a body": ("OPTIONS /sub/chat", f"{ASKS}\r\n{SIZE}", OTHER),
    "preflight in chunks": ("OPTIONS /chat", f"{ASKS}\r\nTransfer-Encoding: chunked", chunked(OTHER)),
    "script name": ("GET /chat", "SCRIPT_NAME: /healthz\r\nScript-Name: /healthz\r\nX-Script-Name: /healthz", ""),
    "root path": ("GET /healthz/chat", "Daphne-Root-Path: /healthz\r\nX-Forwarded-Prefix: /healthz", ""),
}
TWO_NAMES = (
    '--b\r\nContent-Disposition: form-data; name="model"\r\n\r\ngood\r\n'
    '--b\r\nContent-Disposition: form-data; name="x"; name="model_id"\r\n\r\nother\r\n--b--'
)
FALLBACK = '{"model": "good", "fallbacks": ["other"]}'
PASSED_ON = '{"model": "good", "extra_body": {"model": "other"}}'
TWO_VALUES = '{"model":"other"}&model=good'
SEMICOLON = "model=good&x;model=other"
FOR_ANOTHER_MODEL = {
    "body": ("POST /chat", SIZE, OTHER),
    "chunks": ("POST /chat", "Transfer-Encoding: chunked", chunked(OTHER)),
    "chunks that are declared empty": ("POST /chat", "Content-Length: 0\r\nTransfer-Encoding: chunked", chunked(OTHER)),
    "chunks by another spelling": ("POST /chat", "Transfer-Encoding: Chunked", chunked(OTHER)),
    "query": ("POST /chat?model=other", "Content-Length: 17", '{"model": "good"}'),
    "path": ("POST /openai/deployments/other/chat", "Content-Length: 17", '{"model": "good"}'),
    "path with two slashes": ("POST /sub//engines//other/chat", "Content-Length: 17", '{"model": "good"}'),
    "query with a semicolon": ("POST /chat?x=1;model=other", "Content-Length: 17", '{"model": "good"}'),
    "form": ("POST /chat", "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 11", "model=other"),
    "capitals": ("POST /chat", "Content-Length: 35", '{"MODEL": "other", "model": "good"} '[:35]),
    "fallback": ("POST /chat", f"Content-Length: {len(FALLBACK)}", FALLBACK),
    "passed on": ("POST /chat", f"Content-Length: {len(PASSED_ON)}", PASSED_ON),
    "encoding": ("POST /chat", f"Content-Encoding: br\r\n{SIZE}", OTHER),
    "a part with two names": (
        "POST /chat",
        f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {len(TWO_NAMES)}",
        TWO_NAMES,
    ),
    "a field after a semicolon": (
        "POST /chat",
        f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(SEMICOLON)}",
        SEMICOLON,
    ),
    "a form that begins like JSON": (
        "POST /chat",
        f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(TWO_VALUES)}",
        TWO_VALUES,
    ),
}


INSIDE, OUTSIDE = "203.0.113.7", "198.51.100.1"
FROM_ELSEWHERE = {
    "nothing": "",
    "the client's own word, with the proxy's behind": f"X-Forwarded-For: {INSIDE}, {OUTSIDE}",
    "its own header, with the proxy's behind": f"X-Forwarded-For: {INSIDE}\r\nX-Forwarded-For: {OUTSIDE}",
    "other headers": f"Forwarded: for={INSIDE}\r\nX-Real-IP: {INSIDE}\r\nX-Client-IP: {INSIDE}\r\nClient-IP: {INSIDE}",
    "what only looks like it": f"X-Forwarded-For: {INSIDE}.example",
}
UNDERSCORES = f"X-Forwarded-For: {OUTSIDE}\r\nX_Forwarded_For: {INSIDE}"
TRAILER = (
    "GET /chat",
    f"X-Forwarded-For: {OUTSIDE}\r\nTransfer-Encoding: chunked",
    f"0\r\nX-Forwarded-For: {INSIDE}\r\n\r\n",
)
CONFUSED = {"granian wsgi", "hypercorn wsgi"}  # they treat X_Forwarded_For as X-Forwarded-For: KeyGauge warns about it


def send(port, line, headers, body):
    """Send a raw request, and return the whole answer."""
    head = f"{line} HTTP/1.1\r\nHost: api\r\nConnection: close\r\n{headers}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(f"{head}{body}".encode())
        answer = b""
        while part := connection.recv(65536):
            answer += part
    return answer.decode()


def packages(name):
    """Return the site-packages of an environment, for a server that no other tests need."""
    return list((environments.programs(name).parent / "lib").glob("python*/site-packages"))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", SERVERS)
def test_no_request_bypasses_the_middleware(key_service, serve, servers, name):
    _, token = key_service.create_key(models=["good"])
    files = {"small.py": APP, "site_of_django.py": DJANGO}
    path = packages("daphne") if "daphne" in name else ()
    port, _ = serve(SERVERS[name], files, key_service, path=path, KEYGAUGE_TRUSTED_PROXIES="127.0.0.1")
    key = f"Authorization: Bearer {token}"
    good = send(port, "POST /chat", f"{key}\r\nContent-Length: 17", '{"model": "good"}')
    assert good.startswith("HTTP/1.1 200")
    assert 'done {"model": "good"}' in good
    answers = {what: send(port, *request) for what, request in WITHOUT_A_KEY.items()}
    for what, (line, headers, body) in FOR_ANOTHER_MODEL.items():
        answers[what] = send(port, line, f"{key}\r\n{headers}", body)
    assert {what: answer for what, answer in answers.items() if "done" in answer or " 200" in answer[:13]} == {}
    failed = {what for what, answer in answers.items() if answer.startswith("HTTP/1.1 5")}
    assert failed <= {"script name"}  # gunicorn itself fails, as the path does not start with it
    _, bound = key_service.create_key(networks=["203.0.113.0/24"])
    bound = f"Authorization: Bearer {bound}"
    assert send(port, "GET /chat", f"{bound}\r\nX-Forwarded-For: {INSIDE}", "").startswith("HTTP/1.1 200")
    told = dict(FROM_ELSEWHERE) if name in CONFUSED else {**FROM_ELSEWHERE, "an underscore": UNDERSCORES}
    answers = {what: send(port, "GET /chat", f"{bound}\r\n{headers}".strip(), "") for what, headers in told.items()}
    line, headers, body = TRAILER
    answers["a trailer"] = send(port, line, f"{bound}\r\n{headers}", body)
    assert {what for what, answer in answers.items() if not answer.startswith("HTTP/1.1 403")} == set()
    assert ("takes X_Forwarded_For for X-Forwarded-For" in servers.log.read_text()) is (name in CONFUSED)
