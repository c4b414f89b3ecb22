"""One request without a server: what it waits for, how it is authorized, and that it ends once, whatever raises."""

import json
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scripted_service import ID, TOKEN, Service

from keygauge import runtime as runtime_module
from keygauge.call import Call
from keygauge.clock import SECOND, now_ns
from keygauge.http import request as request_module
from keygauge.http import responder as responder_module
from keygauge.http.request import ReadAhead, Request, Until
from keygauge.http.routing.layers import Layer, Walk
from keygauge.limits import refusal
from keygauge.limits.admission import Reservation
from keygauge.limits.authorizer import Authorizer
from keygauge.limits.reading.request_fields import BODY_BYTES_MAX
from keygauge.runtime import Runtime
from keygauge.settings.settings import Settings
from keygauge.spool.event import FIELDS
from keygauge.telemetry.aggregator import Aggregator
from keygauge.usage.formats.sse import StreamReader

PATH = "/v1/chat/completions"
RPM = {"id": "1:a", "name": "rpm", "unit": "request", "amount": 5, "window_s": 60, "period": None, "whose": "account"}
WRITES = {
    "mark_estimated",
    "line",
    "decide",
}  # interrupts in these occur while writing the event, or in the driver
NOTHING = Reservation(())
TPM = {**RPM, "id": "2:a", "name": "tpm", "unit": "token", "amount": 10**9}


class Plain(Request, eq=False):
    """A request without a server, with given headers."""

    fields: dict[str, str] = {}  # noqa: RUF012 - a Struct copies it
    has_body: bool = True

    @property
    def query(self):
        return ""

    def header(self, name):
        return self.fields.get(name, "")

    def follow(self):
        return Walk(template="/v1/chat/completions")

    def find_route(self):
        return self.follow().template

    def drop_body(self):
        self.has_body = False


@pytest.fixture
def service():
    return Service()


@pytest.fixture
def authorizer(service):
    return Authorizer(service, enforces=True, wait_s=1.0)


@pytest.fixture
def runtime(tmp_path, authorizer):
    """A process's runtime without a reachable key service: only what the test adds is known."""
    told = Settings(service_url="http://127.0.0.1:9", service_token="test-service-token-0123456789", spool_dir=tmp_path)
    made = Runtime(told)
    made.authorizer, made.aggregator = authorizer, Aggregator()  # the process's own is shared with other tests
    yield made
    made.stop()


@pytest.fixture
def arrive(runtime):
    """Return a function that creates an arriving request."""

    def arrive(**parts):
        call = Call(**{"method": "POST", "ip": None, "time_ns": 0, "started_ns": now_ns()} | parts.pop("call", {}))
        runtime.aggregator.started(call)
        return Plain(**{"path": PATH, "call": call, "runtime": runtime} | parts)

    return arrive


def counted(runtime):
    """Return the numbers of events written, calls counted and calls still being answered."""
    cells = runtime.aggregator.cells()
    return runtime._spool.next, sum(cell.requests for cell in cells), sum(runtime.aggregator.active().values())


class Trap:
    """KeyGauge's own steps, of which selected ones raise."""

    def __init__(self, monkeypatch):
        self._patch = monkeypatch.setattr
        self.steps = []
        self.raising = {}

    def set(self, owner, name):
        step, original = len(self.steps), getattr(owner, name)
        self.steps.append(name)

        def do(*args, **options):
            if (error := self.raising.pop(step, None)) is not None:
                raise error("trap")
            return original(*args, **options)

        self._patch(owner, name, do)


@pytest.fixture
def trap(monkeypatch, runtime):
    trap = Trap(monkeypatch)
    trap.set(Plain, "find_route")
    trap.set(request_module, "meter")
    trap.set(Request, "_name_error")
    trap.set(responder_module, "kind_of")
    trap.set(StreamReader, "feed")
    trap.set(runtime._totals, "add")
    trap.set(runtime_module.event, "line")
    trap.set(runtime_module.tracing, "describe")
    for name in ("decide", "mark_estimated", "settle"):
        trap.set(Authorizer, name)
    return trap


CHUNKS = (
    b'{"usage": {"prompt_tokens": 11, "completion_tokens": 7}}',
    b'data: {"choices": [{"delta": {"content": "x"}}]}\n\n',
    b'data: {"error": {"message": "overloaded", "type": "server_error"}}\n\n',
    b"data: [DONE]\n\n",
)
SEEN = st.one_of(
    st.just(("note_sent", b'{"model": "m"}')),
    st.tuples(
        st.just("begin"),
        st.sampled_from([200, 204, 404, 500]),
        st.sampled_from([b"text/event-stream", b"application/json"]),
    ),
    st.tuples(st.just("read"), st.sampled_from(CHUNKS)),
    st.just(("note_left",)),
    st.just(("count_file", 5)),
    st.just(("hold",)),
    st.just(("end_body",)),
    st.tuples(st.just("end"), st.booleans(), st.sampled_from([None, LookupError(), KeyboardInterrupt()])),
)


def tell(request, what, *details):
    """Pass to a request what a driver sees."""
    if what == "begin":
        status, kind = details
        request.begin(status, [(b"content-type", kind)])
    elif what == "end":
        complete, error = details
        request.end(complete=complete, error=error)
    elif what == "hold":
        request.call.hold()
    else:
        getattr(request, what)(*details)


def drive(request, authorizer, seen):
    """Act like both drivers: authorize, pass the answer, and end, even if anything raises."""
    try:
        decision = request.decide(authorizer, TOKEN)
        if decision is not None:
            request.refuse(decision)
        for one in seen:
            tell(request, *one)
    except KeyboardInterrupt as error:
        with suppress(KeyboardInterrupt):
            request.end(complete=False, error=error)
    with suppress(KeyboardInterrupt):
        request.end(complete=False, last=True)


def test_request_has_one_event_and_one_metric_whatever_raises(service, runtime, authorizer, arrive, trap):
    service.know()
    place = st.integers(0, len(trap.steps) - 1)
    raising = st.dictionaries(place, st.sampled_from([ValueError, KeyboardInterrupt]), max_size=4)

    @settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
    @given(st.lists(SEEN, max_size=8), raising, st.sampled_from(["GET", "POST", "HEAD"]))
    def check(seen, raising, method):
        events, calls, active = counted(runtime)
        trap.raising = {step: ValueError if trap.steps[step] in WRITES else error for step, error in raising.items()}
        request = arrive(call={"method": method, "account": "a", "context": {}, "reservation": NOTHING})
        drive(request, authorizer, seen)
        trap.raising = {}
        assert counted(runtime) == (events + 1, calls + 1, active)
        assert runtime.streams == set()

    check()


def test_request_is_decided_without_waiting_if_everything_is_known(service, authorizer, arrive):
    assert arrive().decide(authorizer, None) is refusal.MISSING
    service.know()
    request = arrive()
    assert request.decide(authorizer, TOKEN) is None
    assert (request.call.key, request.call.account) == (ID, "a")


def test_uncached_key_is_awaited_while_the_key_service_answers(service, authorizer, arrive):
    waits = arrive().decide(authorizer, TOKEN)
    need = next(waits)
    assert isinstance(need, Until)
    assert need.wait.woken is service.coming
    service.know()
    with pytest.raises(StopIteration) as decided:
        next(waits)
    assert decided.value.value is None


def test_unreachable_key_service_is_not_awaited(service, authorizer, arrive):
    service.admission.away = True
    waits = arrive(call={"started_ns": now_ns() - 2 * SECOND}).decide(authorizer, TOKEN)
    with pytest.raises(StopIteration) as decided:
        next(waits)
    assert decided.value.value is refusal.UNAVAILABLE


def test_cancelled_wait_leaves_its_queue(service, authorizer, arrive):
    service.know(RPM)
    request = arrive()
    waits = request.decide(authorizer, TOKEN)
    assert isinstance(next(waits), Until)
    assert service.admission._waiting
    waits.close()
    assert not service.admission._waiting
    assert request.call.waiter is None


BODY = b'{"model": "gpt-4o-mini", "max_tokens": 5}'
LEFT_TO_THE_APP = "left to the app"


@pytest.mark.parametrize(
    ("fields", "sent", "told"),
    [
        ({"content-length": str(len(BODY))}, (BODY, len(BODY)), (len(BODY), "gpt-4o-mini", 5)),
        ({}, (BODY, len(BODY)), (0, "gpt-4o-mini", 5)),
        ({"content-length": "many"}, (BODY, len(BODY)), (0, "gpt-4o-mini", 5)),
        ({"content-length": str(BODY_BYTES_MAX + 1)}, None, (LEFT_TO_THE_APP, None, None)),
        ({"content-length": "7", "expect": "100-Continue"}, None, (LEFT_TO_THE_APP, None, None)),
        ({"expect": "100-continue"}, None, (LEFT_TO_THE_APP, None, None)),
    ],
)
def test_body_is_read_ahead_unless_the_client_expects_100_continue(service, authorizer, arrive, fields, sent, told):
    service.know(TPM)
    request = arrive(fields=fields)
    waits = request.decide(authorizer, TOKEN)
    need = next(waits)
    length = LEFT_TO_THE_APP
    if isinstance(need, ReadAhead):
        length, need = need.length, waits.send(sent)
    assert isinstance(need, Until)  # for tokens
    estimate = request.call.estimate
    assert (length, estimate.model, estimate.output_tokens) == told
    assert estimate.unread is (sent is None)
    waits.close()


def test_key_restricted_to_models_needs_the_body_at_once(service, authorizer, arrive):
    service.know(models=["gpt-4o"])
    waits = arrive(fields={"content-length": str(len(BODY)), "expect": "100-continue"}).decide(authorizer, TOKEN)
    assert next(waits) == ReadAhead(len(BODY))
    with pytest.raises(StopIteration) as decided:
        waits.send((BODY, len(BODY)))
    assert decided.value.value is refusal.WRONG_MODEL


def test_invalid_output_cap_is_refused(service, authorizer, arrive):
    service.know(TPM)
    waits = arrive().decide(authorizer, TOKEN)
    next(waits)
    with pytest.raises(StopIteration) as decided:
        waits.send((b'{"max_tokens": 0.5}', 19))
    assert decided.value.value is refusal.BAD_CAP


def test_failing_decision_refuses_the_request_and_is_counted(runtime, authorizer, arrive, monkeypatch):
    monkeypatch.setattr(authorizer, "_key_cache", None)
    before = runtime.aggregator.faults().get("decide", 0)
    assert arrive().decide(authorizer, TOKEN) is refusal.UNAVAILABLE
    assert runtime.aggregator.faults()["decide"] == before + 1


@pytest.mark.parametrize(("method", "has_body"), [("POST", True), ("HEAD", False)])
def test_refused_request_has_ended_before_it_is_answered(runtime, arrive, method, has_body):
    before = counted(runtime)[1]
    request = arrive(fields={"origin": "https://site.example"}, call={"method": method})
    told = request.refuse(refusal.MISSING)
    assert (told.status, request.call.status) == (401, 401)
    assert request.call.response_bytes == (len(told.body) if has_body else 0)
    assert (b"access-control-allow-origin", b"*") in told.headers
    assert counted(runtime)[1] == before + 1


@pytest.mark.parametrize(
    ("fields", "is_free"),
    [
        ({}, False),
        ({"origin": "x", "access-control-request-method": "POST", "content-length": "2"}, False),
        ({"origin": "x", "access-control-request-method": "POST", "transfer-encoding": "chunked"}, False),
        ({"origin": "x", "access-control-request-method": "POST", "content-length": "0"}, True),
    ],
)
def test_preflight_answered_by_the_host_needs_no_key(authorizer, arrive, monkeypatch, fields, is_free):
    class CORSLayer:
        pass

    monkeypatch.setattr(Plain, "follow", lambda _: Walk(passed=[lambda: [Layer(CORSLayer(), PATH)]], template=PATH))
    request = arrive(fields=fields, call={"method": "OPTIONS"})
    assert request.decide(authorizer, None) is (None if is_free else refusal.MISSING)
    assert request.has_body is not is_free


class Hostile:
    """A value that raises however it is used."""

    __hash__ = None

    def __eq__(self, other):
        raise ValueError


@pytest.mark.parametrize(
    ("route", "expected"), [(None, PATH), (7, PATH), (b"/x", PATH), ("/mine", "/mine"), (Hostile(), "_unmatched")]
)
def test_an_app_can_set_any_value_as_the_route(tmp_path, runtime, arrive, route, expected):
    request = arrive(call={"key": ID, "account": "a", "status": 200})
    request.call.route = route
    request.end(complete=True)
    (line,) = [line for path in tmp_path.glob("*.ndjson") for line in path.read_bytes().splitlines()]
    assert json.loads(line)[FIELDS.index("route")] == expected
    assert {cell.series.route for cell in runtime.aggregator.cells()} == {expected}
