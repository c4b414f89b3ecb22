"""Keys with restricted permissions, with a real key service."""

import asyncio
import gzip
import threading

import pytest
from flask import Flask, request
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Mount, Route

from keygauge import current
from keygauge.settings.settings import SettingsError
from keygauge.weights import Weights
from keygauge_keyservice.keys import keys, rotation
from keygauge_keyservice.secret import Peppers

PEPPERS = Peppers.parse("1:" + "11" * 32)  # same as in the app fixture


async def hello(request):
    return PlainTextResponse("hello")


async def scopes(request):
    return JSONResponse(list(current().scopes))


async def chat(request):
    return JSONResponse({"model": (await request.json())["model"], "usage": {"input_tokens": 1, "output_tokens": 1}})


@pytest.fixture
def api(guard):
    routes = [Route("/hello", hello), Route("/scopes", scopes), Route("/v1/files/{name}", hello)]
    routes.append(Route("/chat", chat, methods=["POST"]))
    routes.append(Route("/v1/messages/batches", hello, methods=["POST"]))
    return guard(Starlette(routes=routes), trusted_proxies=["127.0.0.1"])


async def test_key_is_refused_from_other_networks(service, api, visit):
    _, token = service.key(networks=["192.0.2.0/24"])
    there = {"x-forwarded-for": "192.0.2.7"}
    assert (await visit(api, token, headers=there)).status_code == 200
    answer = await visit(api, token, headers={"x-forwarded-for": "192.0.2.7, 198.51.100.9"})
    assert answer.status_code == 403
    assert answer.json()["code"] == "ip_not_allowed"
    assert (await visit(api, token)).json()["code"] == "ip_not_allowed"
    events = service.events(3)
    assert [(event["ip"], event["outcome"]) for event in events] == [
        ("192.0.2.7", "admitted"),
        ("198.51.100.9", "forbidden"),
        ("127.0.0.1", "forbidden"),
    ]


async def test_key_is_refused_for_other_endpoints(service, api, visit):
    _, token = service.key(routes=["/hello", "/v1/files*"])
    assert (await visit(api, token, "/hello")).status_code == 200
    assert (await visit(api, token, "/v1/files/a.txt")).status_code == 200
    for path in ("/scopes", "/nowhere", "/hello/", "//hello"):
        answer = await visit(api, token, path)
        assert answer.status_code == 403, path
        assert answer.json()["code"] == "endpoint_not_allowed"


async def test_key_is_refused_for_other_models(service, api, visit):
    _, token = service.key(models=["gpt-4o-mini", "claude-*"])
    for model in ("gpt-4o-mini", "claude-haiku-4-5"):
        answer = await visit(api, token, "/chat", method="POST", json={"model": model})
        assert (answer.status_code, answer.json()["model"]) == (200, model)
    for body in ({"model": "gpt-4o"}, {"model": "gpt-4o-mini-2"}, {}, {"model": None}):
        answer = await visit(api, token, "/chat", method="POST", json=body)
        assert (answer.status_code, answer.json()["code"]) == (403, "model_not_allowed"), body
    assert (await visit(api, token, "/hello")).status_code == 200  # uses no model
    events = service.events(7)
    assert [(event["outcome"], event["error"]) for event in events[2:6]] == [("forbidden", "model_not_allowed")] * 4


async def test_key_is_refused_for_a_batch_of_other_models(service, api, visit):
    _, token = service.key(models=["good"])
    for models, status in ((["good", "good"], 200), (["good", "other"], 403), ([], 403)):
        batch = {"requests": [{"custom_id": "1", "params": {"model": model}} for model in models]}
        answer = await visit(api, token, "/v1/messages/batches", method="POST", json=batch)
        assert answer.status_code == status, models


@pytest.fixture
def proxy(guard):
    """Return an app that may read its model from the path, the query, a form, or JSON in any encoding."""
    routes = [
        Route("/engines/{model}/completions", hello, methods=["GET", "POST"]),
        Route("/run/{model_id:path}", hello, methods=["GET", "POST"]),
        Mount("/sub/{tenant}", routes=[Route("/call/{engine}", hello, methods=["GET", "POST"])]),
        Route("/hello", hello, methods=["GET", "POST"]),
    ]
    return guard(Starlette(routes=routes))


@pytest.mark.parametrize(
    ("path", "options", "code"),
    [
        ("/engines/good/completions", {}, None),
        ("/engines/other/completions", {}, "model_not_allowed"),
        ("/run/org/good", {}, None),
        ("/run/good/x", {}, "model_not_allowed"),
        ("/sub/good/call/other", {}, "model_not_allowed"),
        ("/sub/other/call/good", {}, None),
        ("/hello?model=other", {"json": {"model": "good"}}, "model_not_allowed"),
        ("/hello?model=good", {"json": {"model": "good"}}, None),
        ("/hello", {"data": {"model": "good"}}, None),
        ("/hello", {"data": {"model": "other"}}, "model_not_allowed"),
        ("/hello", {"data": {"model": "good"}, "files": {"file": b"x"}}, None),
        ("/hello", {"data": {"model": "other"}, "files": {"file": b"x"}}, "model_not_allowed"),
        ("/hello", {"content": b'{"MODEL": "other", "model": "good"}'}, "model_not_allowed"),
        ("/hello", {"content": b'{"model": "other", "model": "good"}'}, "model_not_allowed"),
        (
            "/hello",
            {"content": gzip.compress(b'{"model": "good"}', mtime=0), "headers": {"content-encoding": "gzip"}},
            None,
        ),
        ("/hello", {"content": b'{"model": "good"}', "headers": {"content-encoding": "br"}}, "request_unreadable"),
        ("/hello", {"content": b"model is good"}, "request_unreadable"),
        ("/hello", {"content": b'{"model": "good", "x": "%s"}' % (b"x" * 2**20)}, "request_unreadable"),
    ],
)
async def test_model_is_checked_in_every_place_that_names_one(service, proxy, visit, path, options, code):
    _, token = service.key(models=["good", "org/good"])
    answer = await visit(proxy, token, path, method="POST", **options)
    assert (answer.json()["code"] if answer.status_code != 200 else None) == code


def form_of(*parts):
    told = "".join(f"--b\r\nContent-Disposition: form-data; {head}\r\n\r\n{text}\r\n" for head, text in parts)
    return {"content": f"{told}--b--", "headers": [MULTIPART]}


FORM = ("content-type", "application/x-www-form-urlencoded")
MULTIPART = ("content-type", "multipart/form-data; boundary=b")
NAMED_GZIP = gzip.compress(b"model=good", mtime=0)  # its gzip file name is a form
NAMED_GZIP = NAMED_GZIP[:3] + b"\x08" + NAMED_GZIP[4:10] + b"&model=other&\0" + NAMED_GZIP[10:]


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (
            {"content": '{"model":"good","x":"&model=other&"}', "headers": [FORM, ("content-type", "text/plain")]},
            "request_unreadable",
        ),
        (
            {
                "content": '{"model":"good"}',
                "headers": [("content-encoding", "gzip"), ("content-encoding", "identity")],
            },
            "request_unreadable",
        ),
        (form_of(('name="model_id"', "good"), ("name=\"x\"; name*=latin1''model", "other")), "request_unreadable"),
        (form_of(('name="model"', "good"), ('name="x"; name="model_id"', "other")), "request_unreadable"),
        (form_of(('name="model"', "good"), ('name="file"; filename="model.txt"', "x")), None),
        ({"content": NAMED_GZIP, "headers": [FORM, ("content-encoding", "gzip")]}, "model_not_allowed"),
        ({"content": '{"model":"other"}&model=good', "headers": [FORM]}, "request_unreadable"),
    ],
    ids=["two types", "two encodings", "two names", "two ids", "one name", "two formats", "form that begins as JSON"],
)
async def test_ambiguous_body_is_refused(service, proxy, visit, options, code):
    _, token = service.key(models=["good"])
    answer = await visit(proxy, token, "/hello", method="POST", **options)
    assert (answer.json()["code"] if answer.status_code != 200 else None) == code


async def test_body_with_an_unreadable_output_cap_is_refused_if_tokens_are_limited(service, proxy, visit):
    hidden = {"content": b'{"max_tokens": 5}', "headers": {"content-encoding": "br"}}
    tpm = {"name": "tpm", "unit": "token", "amount": 100_000, "window_s": 60}
    for limit, status in ((tpm, 400), ({**tpm, "dry_run": True}, 200), (None, 200)):
        _, token = service.key(limit) if limit else service.key()
        assert (await visit(proxy, token, method="POST", **hidden)).status_code == status


FOREIGN = {
    "utf-16": ('{"model": "gpt-4o", "max_tokens": 9000}'.encode("utf-16"), "charset=utf-16"),
    "unknown": (b'{"model": "gpt-4o", "max_tokens": 9000}', "charset=utf8mb4"),
    "model in its own form": (b'{"model": {"id": "gpt-4o"}, "max_tokens": 9000}', "charset=utf-8"),
}


@pytest.mark.parametrize(("body", "charset"), FOREIGN.values(), ids=FOREIGN)
async def test_a_foreign_charset_is_refused_only_if_a_limit_depends_on_the_model(service, proxy, visit, body, charset):
    """Its output cap is read, and counts."""
    tpm = {"name": "tpm", "unit": "token", "amount": 10_000, "window_s": 60}
    weighted = {**tpm, "unit": "weighted", "unit_name": "points", "weights": Weights(output=1)}
    budget = {"name": "budget", "unit": "nanousd", "amount": 10**12, "period": "month"}
    request = {"method": "POST", "content": body, "headers": {"content-type": f"application/json; {charset}"}}
    for limit, status in ((tpm, 200), (weighted, 200), ({**tpm, "model": "gpt-4o"}, 400), (budget, 400)):
        _, token = service.key(limit)
        assert (await visit(proxy, token, **request)).status_code == status, limit
    for limit in (tpm, weighted):
        _, token = service.key({**limit, "amount": 8_000})
        assert (await visit(proxy, token, **request)).json()["code"] == "request_exceeds_limit"
    _, token = service.key(models=["gpt-4o"])
    assert (await visit(proxy, token, **request)).json()["code"] == "request_unreadable"


async def test_scopes_reach_the_app(service, api, visit):
    _, token = service.key(scopes=["chat:write", "files:read"])
    assert (await visit(api, token, "/scopes")).json() == ["chat:write", "files:read"]


async def test_key_policy_reaches_a_running_service(service, api, visit):
    key, token = service.key()
    assert (await visit(api, token)).status_code == 200
    keys.change(service.connection, key.id, networks=["192.0.2.0/24"], actor="test")
    for _ in range(150):
        if (await visit(api, token)).status_code == 403:
            return
        await asyncio.sleep(0.01)
    pytest.fail("the change did not arrive within 1.5 s")


async def test_no_call_fails_during_a_rotation_with_grace(service, api, visit):
    key, token = service.key({"name": "rpm", "unit": "request", "amount": 10**6, "window_s": 60})
    tokens, statuses, ended = [token], [], threading.Event()

    async def keep_calling():
        while not ended.is_set():
            statuses.append((await visit(api, tokens[-1])).status_code)
            await asyncio.sleep(0)

    calling = asyncio.create_task(keep_calling())
    for number in range(3):
        await asyncio.sleep(0.1)
        done = await asyncio.to_thread(
            rotation.rotate,
            service.connection,
            key.id,
            peppers=PEPPERS,
            rotation_id=f"r{number}",
            grace_s=60,
            actor="test",
        )
        await asyncio.sleep(0.1)  # the client still uses the old one
        tokens.append(done.token)
    await asyncio.sleep(0.3)
    ended.set()
    await calling
    assert set(statuses) == {200}
    assert {event["key_id"] for event in service.events(len(statuses))} == {key.id}
    for old in tokens:
        assert (await visit(api, old)).status_code == 200


async def test_old_secret_is_refused_after_a_rotation_without_grace(service, api, visit):
    key, token = service.key()
    assert (await visit(api, token)).status_code == 200
    done = rotation.rotate(service.connection, key.id, peppers=PEPPERS, rotation_id="r", actor="test")
    for _ in range(150):
        if (await visit(api, token)).status_code == 401:
            break
        await asyncio.sleep(0.01)
    else:
        pytest.fail("the old secret was still admitted after 1.5 s")
    assert (await visit(api, done.token)).status_code == 200


def test_trusted_proxies_are_networks(guard):
    with pytest.raises(SettingsError, match="KEYGAUGE_TRUSTED_PROXIES"):
        guard(Starlette(), trusted_proxies=["everyone"])


def test_wsgi_refuses_the_same_way(service, guard_wsgi, visit_wsgi):
    app = Flask("api")
    app.add_url_rule("/hello", "hello", view_func=lambda: "hello")
    app.add_url_rule("/other/<name>", "other", view_func=lambda name: name)
    api = guard_wsgi(app, trusted_proxies=["192.0.2.1"])
    _, token = service.key(networks=["198.51.100.0/24"], routes=["/hello"])
    there = {"x-forwarded-for": "198.51.100.7"}
    assert visit_wsgi(api, token, headers=there).status_code == 200
    assert visit_wsgi(api, token, "/other/x", headers=there).json()["code"] == "endpoint_not_allowed"
    assert visit_wsgi(api, token).json()["code"] == "ip_not_allowed"


def test_wsgi_refuses_other_models_the_same_way(service, guard_wsgi, visit_wsgi):
    app = Flask("api")
    app.add_url_rule("/hello", "hello", view_func=lambda: "hello")
    app.add_url_rule("/chat", "chat", view_func=lambda: request.get_json()["model"], methods=["POST"])
    api = guard_wsgi(app)
    _, token = service.key(models=["claude-*"])
    assert visit_wsgi(api, token, "/chat", method="POST", json={"model": "claude-x"}).text == "claude-x"
    refused = visit_wsgi(api, token, "/chat", method="POST", json={"model": "gpt-4o"})
    assert (refused.status_code, refused.json()["code"]) == (403, "model_not_allowed")
    assert visit_wsgi(api, token).text == "hello"


def test_wsgi_checks_every_place_the_same_way(service, guard_wsgi, visit_wsgi):
    app = Flask("api")
    app.add_url_rule("/run/<path:model>", "run", view_func=lambda model: model, methods=["POST"])
    api = guard_wsgi(app)
    _, token = service.key(models=["org/good"])
    assert visit_wsgi(api, token, "/run/org/good", method="POST").text == "org/good"
    for path, options in (
        ("/run/org/other", {}),
        ("/run/org/good?model=other", {}),
        ("/run/org/good", {"data": {"model": "other"}}),
        ("/run/org/good", {"content": b'{"Model": "other"}'}),
    ):
        refused = visit_wsgi(api, token, path, method="POST", **options)
        assert (refused.status_code, refused.json()["code"]) == (403, "model_not_allowed"), path
    unreadable = visit_wsgi(api, token, "/run/org/good", method="POST", content=b"x")
    assert (unreadable.status_code, unreadable.json()["code"]) == (400, "request_unreadable")
