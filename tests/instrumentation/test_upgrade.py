"""A rolling upgrade: replicas and key service have different protocol versions, and no call fails or is lost."""

import gzip
import io
import json

import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from keygauge.spool.event import FIELDS

CALLS = 40
USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
CHAT = {"object": "chat.completion", "model": "gpt-4o-mini", "choices": [], "usage": USAGE}
OPTIONAL = ("clock", "progress", "hold", "prices", "look_up", "epoch")  # an older replica may omit these


def host():
    async def chat(request):
        return JSONResponse(CHAT)

    return Starlette(routes=[Route("/v1/chat/completions", chat, methods=["POST"])])


def widen(value):
    """Add an unknown field to every object; lists of plain values stay unchanged."""
    if isinstance(value, dict):
        return {**{name: widen(item) for name, item in value.items()}, "of_tomorrow": {"any": [1, "x", None]}}
    return [widen(item) if isinstance(item, dict) else item for item in value] if isinstance(value, list) else value


def narrow_heartbeat(message):
    """Remove fields that have defaults, unless this heartbeat uses them."""
    kept = {name: value for name, value in message.items() if name not in OPTIONAL or value}
    for wanted in kept.get("acquire", ()):
        wanted.pop("life_ms", None)
    return kept


def narrow_answer(answer):
    """Remove the fields that an older key service did not send."""
    for entry in answer.get("keys", ()):
        for name in ("providers", "tariff", "scopes"):
            entry.pop(name, None)
    return answer


def wide_event(line):
    return [*line, "of_tomorrow", None, 7]


def narrow_event(line):
    return line[: len(FIELDS) - 1]


class OtherVersion:
    """A WSGI app in front of the key service that makes one side look like another version to the other."""

    def __init__(self, app, *, heartbeat=None, answer=None, event=None):
        self.app, self.heartbeat, self.answer, self.event = app, heartbeat, answer, event
        self.changed = set()

    def __call__(self, environ, start_response):
        path, change = environ["PATH_INFO"], None
        if path == "/v1/heartbeat" and self.heartbeat:
            change = lambda body: json.dumps(self.heartbeat(json.loads(body))).encode()  # noqa: E731
        elif path == "/v1/events" and self.event:
            change = self._change_lines
        if change:
            self._replace_body(environ, change)
            self.changed.add(path)
        if self.answer is None or not path.startswith("/v1/"):
            return self.app(environ, start_response)
        return self._changed_answer(environ, start_response)

    def _change_lines(self, body):
        return b"".join(json.dumps(self.event(json.loads(line))).encode() + b"\n" for line in body.splitlines())

    def _replace_body(self, environ, change):
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        if environ.pop("HTTP_CONTENT_ENCODING", "") == "gzip":
            body = gzip.decompress(body)
        body = change(body)
        environ["wsgi.input"], environ["CONTENT_LENGTH"] = io.BytesIO(body), str(len(body))

    def _changed_answer(self, environ, start_response):
        environ.pop("HTTP_ACCEPT_ENCODING", None)
        started = []
        body = b"".join(self.app(environ, lambda *told: started.append(told)))
        status, headers = started[0][:2]
        if status.startswith("200"):
            body = json.dumps(self.answer(json.loads(body))).encode()
            self.changed.add(environ["PATH_INFO"])
        headers = [(name, value) for name, value in headers if name.lower() != "content-length"]
        start_response(status, [*headers, ("Content-Length", str(len(body)))])
        return [body]


VERSIONS = {
    "newer replicas": {"heartbeat": widen, "event": wide_event},
    "older replicas": {"heartbeat": narrow_heartbeat, "event": narrow_event},
    "a newer key service": {"answer": widen},
    "an older key service": {"answer": narrow_answer},
}


@pytest.mark.parametrize("version", VERSIONS)
async def test_no_call_fails_or_is_lost(service, guard, visit, version):
    between = OtherVersion(service.app, **VERSIONS[version])
    service.down()
    service.app = between
    service.up()
    made, token = service.key()
    app = guard(host())
    answers = [
        await visit(app, token, "/v1/chat/completions", method="POST", json={"model": "gpt-4o-mini"})
        for _ in range(CALLS)
    ]
    assert {answer.status_code for answer in answers} == {200}
    app._process.stop()  # ships the remaining events
    events = service.events(CALLS)
    assert len(events) == CALLS
    assert {(event["key_id"], event["input_tokens"], event["output_tokens"]) for event in events} == {(made.id, 11, 7)}
    assert "/v1/heartbeat" in between.changed


@pytest.mark.parametrize("unknown", [{"unit": "of_tomorrow"}, {"period": "of_tomorrow", "window_s": None}])
async def test_unknown_limit_unit_or_period_fails_no_call(service, guard, visit, unknown):
    def of_tomorrow(answer):
        for entry in answer.get("keys", ()):
            for limit in entry["limits"]:
                limit.update(unknown)
        return answer

    service.app = between = OtherVersion(service.app, answer=of_tomorrow)
    service.down()
    service.up()
    _, token = service.key({"name": "later", "unit": "token", "amount": 100_000, "window_s": 60})
    app = guard(host())
    answers = [
        await visit(app, token, "/v1/chat/completions", method="POST", json={"model": "gpt-4o-mini"}) for _ in range(10)
    ]
    assert {answer.status_code for answer in answers} == {200}
    assert "/v1/heartbeat" in between.changed
    app._process.stop()
    assert len(service.events(10)) == 10


async def test_versions_change_under_traffic(service, guard, visit):
    _, token = service.key()
    app = guard(host())
    between = OtherVersion(service.app)
    service.down()
    service.app = between
    service.up()
    statuses = set()
    for version in (*VERSIONS.values(), {}):
        vars(between).update({"heartbeat": None, "answer": None, "event": None, **version})
        for _ in range(10):
            answer = await visit(app, token, "/v1/chat/completions", method="POST", json={"model": "gpt-4o-mini"})
            statuses.add(answer.status_code)
    app._process.stop()
    assert statuses == {200}
    assert len(service.events(50)) == 50
