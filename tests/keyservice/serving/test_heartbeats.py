"""Heartbeats outside Flask: the same answers, one query for all tokens, and nothing for clients that left."""

import asyncio
import dataclasses
import io
import json

import httpx
import pytest

from keygauge_keyservice import database
from keygauge_keyservice.accounts import tokens
from keygauge_keyservice.accounts.token_book import TokenBook
from keygauge_keyservice.app import create_app
from keygauge_keyservice.serving.bodies import Bodies
from keygauge_keyservice.serving.bridge import Bridge
from keygauge_keyservice.serving.heartbeats import Heartbeats
from keygauge_keyservice.sync.heartbeat_queue import AT_ONCE, HeartbeatQueue
from keygauge_keyservice.web.context import of_app

PATH = "/v1/heartbeat"
HEAD = {"replica": "a" * 32, "service": "api", "host": "a1", "version": "0.1.0", "mode": "enforce", "cursor": None}
BODY = json.dumps(HEAD).encode()


async def no_rest(scope, receive, send):
    raise AssertionError("this needs no thread")


@pytest.fixture
def make_client(app):
    """`make_client(rest)` returns a client of the app that answers heartbeats; Flask answers the rest by default."""

    def make(rest=None, **options):
        rest = rest or Bridge(app, threads=2, queue=100)
        heartbeats = Heartbeats(of_app(app), rest=rest, **{"inside_max": 100} | options)
        return httpx.AsyncClient(transport=httpx.ASGITransport(Bodies(heartbeats)), base_url="http://a", timeout=100)

    return make


def counted(app):
    """Return how many requests were counted, by labels."""
    families = of_app(app).registry.collect()
    samples = [one for family in families for one in family.samples if one.name.endswith("requests_total")]
    return {tuple(sorted(one.labels.values())): one.value for one in samples}


@pytest.mark.parametrize(
    ("method", "path", "body", "changes"),
    [
        ("POST", PATH, BODY, {}),
        ("POST", PATH, BODY, {"Authorization": None}),
        ("POST", PATH, BODY, {"Authorization": "Bearer kgs_wrong"}),
        ("POST", PATH, BODY, {"Authorization": "Bearer"}),
        ("POST", PATH, BODY, {"Authorization": "Bearer ä".encode("latin-1")}),
        ("POST", PATH, BODY, {"scheme": "Basic"}),
        ("POST", PATH, BODY, {"scheme": "bearer"}),
        ("POST", PATH, b"", {}),
        ("POST", PATH, b"{", {}),
        ("POST", PATH, b"[" * 100_000, {}),
        ("POST", PATH, b"\xff", {}),
        ("POST", PATH, json.dumps(HEAD | {"mode": "war"}).encode(), {}),
        ("POST", PATH, b" " * (2 << 20), {}),
        ("POST", f"{PATH}?a=%00", BODY, {}),
        ("POST", f"{PATH}?a=b", BODY, {}),
        ("GET", PATH, b"", {}),
        ("PUT", PATH, BODY, {}),
    ],
)
async def test_answers_are_those_of_flask(app, make_client, client, replica, method, path, body, changes):
    headers = {"Content-Type": "application/json"} | replica
    if "scheme" in changes:
        headers["Authorization"] = headers["Authorization"].replace("Bearer", changes["scheme"])
    else:
        headers |= changes
    headers = {name: value for name, value in headers.items() if value is not None}
    of_flask = client.open(path, method=method, data=body, headers=headers)
    before = counted(app)
    async with make_client() as ours:
        answer = await ours.request(method, path, content=body, headers=headers)
    assert (answer.status_code, answer.json()) == (of_flask.status_code, of_flask.json)
    assert {name.lower(): value for name, value in of_flask.headers if name != "Vary"} == {
        name.lower(): value for name, value in answer.headers.items() if name.lower() != "vary"
    }
    assert {labels: value for labels, value in counted(app).items() if value != before.get(labels)} == {
        labels: 2 * value for labels, value in before.items()
    }


async def test_valid_heartbeats_need_no_thread_of_their_own(make_client, replica):
    async with make_client(no_rest) as client:
        bodies = [json.dumps(HEAD | {"replica": f"{number:032x}"}) for number in range(50)]
        answers = await asyncio.gather(*(client.post(PATH, content=body, headers=replica) for body in bodies))
    assert {answer.status_code for answer in answers} == {200}


async def test_services_with_tokens_of_their_own_wait_for_one_query(app, connection, make_client, database_url):
    token, secret = tokens.create(connection, kind="service", name="shop", actor="test")
    queries = []

    def connect():
        queries.append(1)
        return database.connect(database_url)

    vars(of_app(app))["tokens"] = TokenBook(connect, connect)
    headers = {"Authorization": f"Bearer {secret}"}
    async with make_client(no_rest) as client:
        bodies = [json.dumps(HEAD | {"replica": f"{number:032x}"}) for number in range(20)]
        answers = await asyncio.gather(*(client.post(PATH, content=body, headers=headers) for body in bodies))
    assert {answer.status_code for answer in answers} == {200}
    assert len(queries) == 1
    rows = connection.execute("SELECT id FROM replica WHERE id LIKE '%:shop'").fetchall()
    assert len(rows) == 20
    tokens.revoke(connection, token.id, actor="test")
    async with make_client() as client:
        while (await client.post(PATH, content=BODY, headers=headers)).status_code == 200:
            await asyncio.sleep(0.1)  # for two seconds
        assert (await client.post(PATH, content=BODY, headers=headers)).status_code == 401


async def test_an_unavailable_database_is_503(settings, replica):
    app = create_app(dataclasses.replace(settings, database_url="postgresql://127.0.0.1:1/none"))
    of_app(app).replica_pool.timeout = 0.1
    heartbeats = Heartbeats(of_app(app), rest=no_rest, inside_max=100)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(Bodies(heartbeats)), base_url="http://a") as client:
        for headers in (replica, {"Authorization": "Bearer kgs_of_a_service"}):
            answer = await client.post(PATH, content=BODY, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
            assert answer.headers["Retry-After"] == "1"
    of_app(app).close()
    assert counted(app) == {(PATH, "503", "POST"): 2}


async def test_too_many_at_once_are_refused(make_client, replica):
    async with make_client(no_rest, inside_max=0) as client:
        answer = await client.post(PATH, content=BODY, headers=replica)
    assert (answer.status_code, answer.json()["code"], answer.headers["Retry-After"]) == (503, "busy", "1")


async def test_a_heartbeat_whose_client_left_while_it_waited_is_not_processed(app, connection, replica):
    context = of_app(app)
    let_go = asyncio.Event()
    loop = asyncio.get_running_loop()
    seen = []

    def answer(connection, received, lock_timeout_ms):
        seen.extend(one.message.replica for one in received)
        asyncio.run_coroutine_threadsafe(let_go.wait(), loop).result(100)
        return context._answer(connection, received, lock_timeout_ms)

    vars(context)["heartbeats"] = HeartbeatQueue(context.replica_connection, answer)
    heartbeats = Heartbeats(context, rest=no_rest, inside_max=100)
    sent = {number: [] for number in range(3)}

    def ask(number, left):
        async def receive():
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(message):
            sent[number].append(message)

        body = json.dumps(HEAD | {"replica": f"{number:032x}"}).encode()
        return asyncio.create_task(heartbeats(scope(replica, body), receive, send))

    stays, leaves = asyncio.Event(), asyncio.Event()
    first = []
    for number in range(AT_ONCE):
        first.append(ask(number, stays))
        while len(seen) < len(first):
            await asyncio.sleep(0.01)
    later = ask(2, leaves)
    await asyncio.sleep(0)
    leaves.set()
    await later
    let_go.set()
    await asyncio.gather(*first)
    assert sorted(seen) == [f"{number:032x}" for number in range(2)]
    assert [bool(messages) for messages in sent.values()] == [True, True, False]


def scope(headers, body):
    """Return a scope with a complete body, as `Bodies` passes it on."""
    pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    return {"method": "POST", "path": PATH, "query_string": b"", "headers": pairs, "body": io.BytesIO(body)}
