"""Hundreds of invented keys with a valid checksum, which only the key service can recognize as unknown."""

import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from threading import Event

import pytest

from keygauge import key

APP = """
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from keygauge.asgi import KeyGaugeMiddleware

app = KeyGaugeMiddleware(Starlette(routes=[Route("/", lambda request: PlainTextResponse("served"))]))
"""
ATTACKER, CUSTOMER = "127.0.0.66", "127.0.0.2"
PER_S = 200
GUESSES_PER_S = 50


def get(port, token, source):
    connection = HTTPConnection("127.0.0.1", port, timeout=60, source_address=(source, 0))
    try:
        connection.request("GET", "/", headers={"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def invent(port, stop):
    """Send invented keys at a rate until `stop` is set; return the answers and the duration."""
    statuses, started = [], time.monotonic()
    while not stop.is_set() or len(statuses) < PER_S:
        stop.wait(max(0.0, started + len(statuses) / PER_S - time.monotonic()))
        statuses.append(get(port, key.generate("live"), ATTACKER))
    return statuses, time.monotonic() - started


@pytest.mark.skipif("sys.platform != 'linux'", reason="other systems have one loopback address only")
def test_invented_keys_of_one_address_do_not_delay_new_keys_of_another(key_service, serve):
    tokens = [key_service.create_key()[1] for _ in range(20)]
    port, _ = serve(["uvicorn", "small:app", "--port", "{port}"], {"small.py": APP}, key_service)
    assert get(port, tokens[0], ATTACKER) == 200
    stop = Event()
    with ThreadPoolExecutor() as pool:
        attack = pool.submit(invent, port, stop)
        try:
            answers = [get(port, token, CUSTOMER) for token in tokens]  # all but the first are new to the process
        finally:
            stop.set()
        statuses, took_s = attack.result()
    assert answers == [200] * 20
    assert get(port, tokens[0], ATTACKER) == 200  # a known key needs no look-up
    assert set(statuses) <= {401, 429}
    assert statuses.count(401) <= GUESSES_PER_S * (took_s + 1) + 1
