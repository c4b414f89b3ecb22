"""Every framework on every server: routes, statuses, errors, times and usage in the ledger match the requests."""

import socket
import time
from collections import Counter

import pytest
from hosts import ENDLESS, HOSTS, OF_WSGI
from serving import get, terminate

from keygauge_keyservice.accounts import plans

GUNICORN = ["gunicorn", "--bind", "127.0.0.1:{port}", "--workers", "2"]
ASGI = {
    "uvicorn": ["uvicorn", "hosted:app", "--port", "{port}"],
    "gunicorn uvicorn": [*GUNICORN, "-k", "uvicorn_worker.UvicornWorker", "hosted:app"],
    "hypercorn": ["hypercorn", "hosted:app", "--bind", "127.0.0.1:{port}"],
    "granian": ["granian", "hosted:app", "--interface", "asgi", "--port", "{port}"],
}
WSGI = {
    "gunicorn sync": [*GUNICORN, "hosted:app"],
    "gunicorn gthread": [*GUNICORN, "-k", "gthread", "--threads", "4", "hosted:app"],
    "hypercorn": ["hypercorn", "wsgi:hosted:app", "--bind", "127.0.0.1:{port}"],
    "granian": ["granian", "hosted:app", "--interface", "wsgi", "--port", "{port}"],
}
FRAMEWORKS = {name: name not in OF_WSGI for name in HOSTS}
MATRIX = [(name, server) for name, is_asgi in FRAMEWORKS.items() for server in (ASGI if is_asgi else WSGI)]
FIRST = {"uvicorn", "gunicorn sync"}  # of the servers, tried in the short form
MADE_WHOLE = 100  # chunks of a stream that the server reads to its end even without a client
LIMIT = plans.Limit(name="rpm", unit="request", amount=100_000, window_s=60)


def leave(port, token, path):
    """Request a stream and disconnect after its first bytes."""
    request = f"GET {path} HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer {token}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=150) as connection:
        connection.sendall(request.encode())
        while b"data:" not in connection.recv(65536):
            pass


def expected(host, sent):
    """Return the expected ledger, as (route, status, error, stream, usage, input, output)."""
    truth = Counter()
    for path in sent:
        read = ("reported", 11, 7)
        truth[
            {
                "/items/1": (host.item, 200, None, None, *read),
                "/stream": ("/stream", 200, None, "sse", *read),
                "/fail": ("/fail", 500, "500", None, "none", None, None),
                "/nothing": ("_unmatched", 404, None, None, "none", None, None),
                "/sub/acme/items/1": (host.sub_item, 200, None, None, *read),
                "/mnt/items/1": (f"/mnt{host.item}", 200, None, None, *read),
            }[path]
        ] += 1
    return truth


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("framework", "server"),
    [
        pytest.param(name, server, marks=[pytest.mark.long] if server not in FIRST else [], id=f"{name}-{server}")
        for name, server in MATRIX
    ],
)
def test_ledger_and_metrics_match_the_requests(key_service, serve, collector, servers, eventually, framework, server):
    host = HOSTS[framework]()
    assert host.is_asgi == FRAMEWORKS[framework]
    command = (ASGI if host.is_asgi else WSGI)[server]
    key, token = key_service.create_key(LIMIT)
    is_made_whole = (server, host.is_asgi) == ("hypercorn", False)
    chunks = MADE_WHOLE if is_made_whole else ENDLESS
    port, process = serve(command, {}, key_service, HOST=framework, ENDLESS=str(chunks))
    paths = ["/items/1", "/items/1", "/stream", "/fail", "/nothing", "/sub/acme/items/1"]
    if framework != "falcon-asgi":  # its routes ignore mounts
        paths.append("/mnt/items/1")
    started = time.monotonic()
    statuses = [get(port, path, token) for path in paths]
    leave(port, token, "/endless")
    assert statuses == [200, 200, 200, 500, 404, 200, 200][: len(paths)], servers.log.read_text()[-2000:]
    # The server notices a client's disconnect when it continues to send.
    eventually(lambda: len(key_service.ledger(key.id)), len(paths) + 1, timeout_s=150)
    elapsed_us = (time.monotonic() - started) * 1e6
    terminate(process)

    columns = "route, status, error, stream, usage_status, input_tokens, output_tokens, duration_us, messages"
    events = key_service.ledger(key.id, columns)
    (left,) = [event for event in events if event[0] == "/endless"]
    assert Counter(event[:7] for event in events if event is not left) == expected(host, paths)
    assert (left[1], left[3]) == (200, "sse")
    if is_made_whole:
        assert (left[2], left[8]) == (None, chunks)
    else:
        assert left[2] in {"client_disconnected", "CancelledError"}
        assert 0 < left[8] < ENDLESS
    assert all(0 < event[7] < elapsed_us for event in events)
    assert collector.total("keygauge.requests", **{"keygauge.key.id": key.id}) == len(paths) + 1
    assert collector.total("keygauge.request.duration") == len(paths) + 1
    assert list(servers.spool.glob("*.lock")) == []  # all events are in the ledger
