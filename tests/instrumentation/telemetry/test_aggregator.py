"""The aggregator: exact totals for any calls and any number of threads."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from threading import Event, Thread

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keygauge.call import ANONYMOUS, INVALID, Call
from keygauge.telemetry import aggregator as module
from keygauge.telemetry.aggregator import Aggregator
from keygauge.telemetry.heavy_hitters import IDLE_TURNS
from keygauge.telemetry.labels import MAX_RESTS, NO_STATUS, OTHER, OTHER_KEY, OTHER_METHOD
from keygauge.usage import Usage


def make_call(**fields):
    call = Call(method=fields.pop("method", "POST"), ip=None, time_ns=0, started_ns=0)
    fields = {"key": "k1", "route": "/v1/chat", "status": 200, "model": "m1", "provider": "p1"} | fields
    for name, value in fields.items():
        setattr(call, name, value)
    return call


def record(aggregator, *calls):
    for call in calls:
        aggregator.started(call)
        aggregator.record(call)


def total(aggregator, field="requests"):
    return sum(getattr(cell, field) for cell in aggregator.cells())


def by(aggregator, label):
    counts = Counter()
    for cell in aggregator.cells():
        counts[getattr(cell.series, label)] += cell.requests
    return dict(counts)


def test_call_is_counted_with_its_sizes_and_tokens():
    aggregator = Aggregator()
    usage = Usage(100, 20, 60, None, 5)
    record(aggregator, make_call(request_bytes=10, response_bytes=300, messages=4, stream="sse", usage=usage))
    record(aggregator, make_call(request_bytes=1, response_bytes=2, messages=1, stream="sse", usage=usage))
    (cell,) = aggregator.cells()
    assert (cell.requests, cell.request_bytes, cell.response_bytes, cell.messages) == (2, 11, 302, 5)
    assert (cell.input_tokens, cell.output_tokens) == (200, 40)
    assert (cell.cache_read_tokens, cell.cache_write_tokens, cell.reasoning_tokens) == (120, 0, 10)


def test_reader_waits_for_a_call_being_counted_by_another_thread():
    is_counting, go_on = Event(), Event()

    class Slow(str):
        __slots__ = ()

        def __hash__(self):
            is_counting.set()
            assert go_on.wait(100)
            return super().__hash__()

    aggregator = Aggregator()
    record(aggregator, make_call(key=Slow("k1")))
    with ThreadPoolExecutor(2) as threads:
        draining = threads.submit(aggregator.drain)
        assert is_counting.wait(100)
        reading = threads.submit(total, aggregator)
        wait_for([reading], timeout=0.1)
        go_on.set()
        assert reading.result() == 1
        draining.result()


def test_reader_waits_for_an_observation_made_by_another_thread():
    is_observing, go_on, observed = Event(), Event(), []

    def observe(_, call):
        is_observing.set()
        assert go_on.wait(100)
        observed.append(call)

    aggregator = Aggregator()
    aggregator.observe = observe
    record(aggregator, make_call())
    with ThreadPoolExecutor(2) as threads:
        draining = threads.submit(aggregator.drain)
        assert is_observing.wait(100)
        reading = threads.submit(lambda: (total(aggregator), len(observed)))
        wait_for([reading], timeout=0.1)
        go_on.set()
        assert reading.result() == (1, 1)
        draining.result()


def test_active_requests_rise_and_fall_by_method():
    aggregator = Aggregator()
    get, brew = make_call(method="GET"), make_call(method="BREW")
    for call in (get, make_call(method="GET"), brew):
        aggregator.started(call)
    aggregator.record(get)
    assert aggregator.active()["GET"] == 1
    assert aggregator.active()[OTHER_METHOD] == 1
    aggregator.record(brew)
    assert aggregator.active()[OTHER_METHOD] == 0
    assert "BREW" not in aggregator.active()


def test_open_streams_rise_and_fall_by_kind():
    aggregator = Aggregator()
    calls = [make_call(stream=kind) for kind in ("sse", "websocket", "ndjson", None)]
    for call in calls:
        aggregator.started(call)
    assert aggregator.streams() == {"sse": 1, "ndjson": 1, "eventstream": 0, "websocket": 1}
    aggregator.record(calls[0])
    assert aggregator.streams() == {"sse": 0, "ndjson": 1, "eventstream": 0, "websocket": 1}


def test_faults_and_drops_are_counted_by_a_bounded_set_of_reasons():
    aggregator = Aggregator()
    for number in range(1000):
        aggregator.fault(f"reason {number}")
        aggregator.dropped("spool_full", 3)
    assert sum(aggregator.faults().values()) == 1000
    assert len(aggregator.faults()) <= 51
    assert aggregator.drops() == {"spool_full": 3000}


def test_totals_are_exact_under_threads():
    aggregator = Aggregator(max_keys=5, max_models=3)
    observed = []
    aggregator.observe = lambda _series, call: observed.append(call)

    def work(number):
        usage = Usage(3, 1)
        for turn in range(2000):
            call = make_call(key=f"k{turn % 9}", model=f"m{turn % 7}", usage=usage, request_bytes=number)
            record(aggregator, call)

    threads = [Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        aggregator.drain()
        aggregator.cells()
    aggregator.drain()
    assert total(aggregator) == 8000
    assert total(aggregator, "input_tokens") == 24000
    assert total(aggregator, "request_bytes") == 2000 * (0 + 1 + 2 + 3)
    assert set(aggregator.active().values()) == {0}
    assert len(observed) == 8000


def test_later_keys_fold_into_other():
    aggregator = Aggregator(max_keys=3)
    record(aggregator, *(make_call(key=f"k{number}") for number in range(10)))
    assert by(aggregator, "key") == {"k0": 1, "k1": 1, "k2": 1, OTHER_KEY: 7}
    assert aggregator.folded() == {"key": 7}


def test_anonymous_and_invalid_never_fold():
    aggregator = Aggregator(max_keys=1)
    record(aggregator, *(make_call(key=key) for key in ("k0", "k1", ANONYMOUS, INVALID)))
    assert by(aggregator, "key") == {"k0": 1, OTHER_KEY: 1, ANONYMOUS: 1, INVALID: 1}


def test_later_routes_and_models_fold():
    aggregator = Aggregator(max_routes=2, max_models=2)
    record(aggregator, *(make_call(route=f"/{number}", model=f"m{number}") for number in range(4)))
    assert by(aggregator, "route") == {"/0": 1, "/1": 1, OTHER: 2}
    assert by(aggregator, "model") == {"m0": 1, "m1": 1, OTHER: 2}
    assert aggregator.folded() == {"route": 2, "model": 2}


def test_absent_model_stays_absent():
    aggregator = Aggregator()
    record(aggregator, make_call(model=None, provider=None), make_call(model="", provider=""))
    assert by(aggregator, "model") == {None: 2}
    assert aggregator.folded() == {}


@pytest.mark.parametrize("model", ["\ud800", "a\nb", "x" * 201, 17, True, ["list"], {"a": 1}, b"bytes", 1.5])
def test_invalid_model_name_folds(model):
    aggregator = Aggregator()
    record(aggregator, make_call(model=model), make_call(model=model))
    assert by(aggregator, "model") == {OTHER: 2}


def test_unknown_methods_share_one_series():
    aggregator = Aggregator()
    record(aggregator, *(make_call(method=f"M{number}") for number in range(5)))
    assert by(aggregator, "method") == {OTHER_METHOD: 5}


@pytest.mark.parametrize("status", [0, 99, 600, -1, 10**9, None, "200", True])
def test_invalid_status_folds(status):
    aggregator = Aggregator()
    record(aggregator, make_call(status=status), make_call(status=204))
    assert by(aggregator, "status") == {NO_STATUS: 1, 204: 1}


def test_series_are_bounded_and_rest_keeps_special_keys_status_and_total():
    aggregator = Aggregator(max_keys=10**6, max_routes=10**6, max_series=2 * MAX_RESTS)
    calls = [make_call(key=f"k{number}", route=f"/{number}", status=200 + number % 2) for number in range(2000)]
    record(aggregator, *calls, make_call(key=ANONYMOUS, route="/last", status=404, error="NotFound"))
    assert len(aggregator.cells()) <= 2 * MAX_RESTS
    assert by(aggregator, "status") == {200: 1000, 201: 1000, 404: 1}
    assert by(aggregator, "key")[ANONYMOUS] == 1
    assert total(aggregator) == 2001
    assert aggregator.folded()["series"] == by(aggregator, "route")[OTHER]


def test_busy_key_replaces_the_least_used_one():
    aggregator = Aggregator(max_keys=2)
    record(aggregator, *[make_call(key="idle")] * 5, *[make_call(key="busy")] * 100)
    record(aggregator, *[make_call(key="late")] * 20)
    aggregator.turn()
    record(aggregator, *[make_call(key="late")] * 7, make_call(key="idle"))
    assert by(aggregator, "key") == {"busy": 100, "late": 7, "idle": 5, OTHER_KEY: 21}
    assert aggregator.folded() == {"key": 21}
    assert total(aggregator) == 133


def test_similarly_used_keys_do_not_alternate():
    aggregator = Aggregator(max_keys=1)
    for _ in range(5):
        record(aggregator, *[make_call(key="first")] * 50, *[make_call(key="second")] * 90)
        aggregator.turn()
    assert by(aggregator, "key") == {"first": 250, OTHER_KEY: 450}


def test_long_idle_key_is_replaced_by_an_occasionally_used_one():
    aggregator = Aggregator(max_keys=1)
    record(aggregator, make_call(key="gone"))
    aggregator.turn()
    for _ in range(IDLE_TURNS - 1):
        record(aggregator, *[make_call(key="slow")] * 3)
        aggregator.turn()
        assert set(by(aggregator, "key")) == {"gone", OTHER_KEY}
    record(aggregator, *[make_call(key="slow")] * 3)
    aggregator.turn()
    record(aggregator, make_call(key="slow"))
    assert by(aggregator, "key")["slow"] == 1


def test_series_resumes_its_count_when_its_key_returns():
    aggregator = Aggregator(max_keys=1)
    counts = []
    for name in ("first", "second", "first"):
        record(aggregator, *[make_call(key=name)] * 30)
        aggregator.turn()
        record(aggregator, *[make_call(key=name)] * 7)
        counts.append(by(aggregator, "key"))
    assert counts[0] == {"first": 37}
    assert counts[1] == {"first": 37, "second": 7, OTHER_KEY: 30}
    assert counts[2] == {"first": 44, "second": 7, OTHER_KEY: 60}


def test_busy_model_and_route_get_a_place_after_a_flood_of_junk():
    aggregator = Aggregator(max_models=5, max_routes=5)
    record(aggregator, *(make_call(model=f"junk{number}", route=f"/junk/{number}") for number in range(2000)))
    record(aggregator, *[make_call(model="real", route="/real")] * 30)
    aggregator.turn()
    record(aggregator, make_call(model="real", route="/real"))
    assert by(aggregator, "model")["real"] == by(aggregator, "route")["/real"] == 1


def test_flood_of_names_replaces_none():
    aggregator = Aggregator(max_models=2)
    for turn in range(3):
        record(aggregator, make_call(model="a"), make_call(model="b"))
        record(aggregator, *(make_call(model=f"{turn}-{number}") for number in range(2000)))
        aggregator.turn()
    assert by(aggregator, "model") == {"a": 3, "b": 3, OTHER: 6000}


def test_number_of_series_ever_created_is_bounded():
    aggregator = Aggregator(max_keys=10, max_series=2 * MAX_RESTS)
    born = set()
    for turn in range(200):
        record(aggregator, *(make_call(key=f"{turn}-{number}") for number in range(20) for _ in range(30)))
        aggregator.turn()
        born.update(cell.series for cell in aggregator.cells())
    assert len(born) <= 2 * MAX_RESTS
    assert len(aggregator._bases) <= MAX_RESTS
    assert total(aggregator) == 200 * 600


def test_turn_during_traffic_loses_no_calls():
    aggregator = Aggregator(max_keys=3, max_models=3)

    def work(number):
        for turn in range(3000):
            name = f"{number}{turn // 500}-{turn % 5}"
            record(aggregator, make_call(key=name, model=name))

    threads = [Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        aggregator.turn()
    assert total(aggregator) == 9000


def test_first_key_keeps_its_series_after_a_flood_of_others():
    aggregator = Aggregator(max_keys=2)
    record(aggregator, make_call(key="mine"), *(make_call(key=f"k{number}") for number in range(50)))
    record(aggregator, make_call(key="mine"))
    assert by(aggregator, "key")["mine"] == 2


def test_flood_of_model_names_uses_bounded_memory():
    aggregator = Aggregator(max_models=10)
    call = make_call()
    for number in range(20_000):
        call.model = f"hostile-{number}"
        aggregator.record(call)
    assert len(aggregator.cells()) == 11
    assert len(aggregator._folding._models._kept) == 11
    assert len(aggregator._pending) <= module._MOST_PENDING


def test_model_of_a_refused_call_is_the_requested_one():
    aggregator = Aggregator()
    record(
        aggregator,
        make_call(model="snapshot", requested_model="alias"),
        make_call(model=None, requested_model="never-seen"),
    )
    assert by(aggregator, "model") == {"snapshot": 1, "never-seen": 1}
    assert by(aggregator, "requested") == {"alias": 1, "never-seen": 1}
    assert aggregator.folded() == {}


def test_made_up_model_names_leave_room_for_real_models():
    aggregator = Aggregator(max_models=10)
    record(aggregator, *(make_call(model=None, requested_model=f"made-up-{number}") for number in range(20_000)))
    record(aggregator, *(make_call(model=f"m{number}", requested_model=f"r{number}") for number in range(4)))
    for label, letter in (("model", "m"), ("requested", "r")):
        found = by(aggregator, label)
        assert len(found) == 10
        assert [found[f"{letter}{number}"] for number in range(4)] == [1] * 4
    aggregator.turn()
    record(aggregator, make_call(model=None, requested_model="made-up-9999"))
    assert by(aggregator, "requested")[OTHER] == 20_000 - 5 + 1


def test_too_small_max_series_is_rejected():
    with pytest.raises(ValueError, match="max_series is 10"):
        Aggregator(max_series=10)


def test_observations_are_made_by_drain():
    aggregator = Aggregator()
    observed = []
    aggregator.observe = lambda _series, call: observed.append(call)
    calls = [make_call() for _ in range(5)]
    record(aggregator, *calls)
    assert observed == []
    aggregator.drain()
    assert observed == calls


def test_full_queue_drains_inline_without_loss():
    aggregator = Aggregator()
    observed = []
    aggregator.observe = lambda _series, call: observed.append(call)
    call = make_call()
    for _ in range(module._MOST_PENDING + 500):
        aggregator.record(call)
    assert len(aggregator._pending) <= module._MOST_PENDING
    aggregator.drain()
    assert len(observed) == module._MOST_PENDING + 500


def test_failing_histogram_is_a_fault_and_never_reaches_the_host():
    aggregator = Aggregator()

    def fail(_series, _call):
        raise RuntimeError("a view of the host's")

    aggregator.observe = fail
    record(aggregator, make_call(), make_call())
    aggregator.drain()
    assert aggregator.faults() == {"histogram": 2}
    assert total(aggregator) == 2


def test_reset_clears_the_parents_counts_and_held_lock():
    aggregator = Aggregator(max_keys=1)
    record(aggregator, make_call(key="parent"))
    aggregator.fault("x")
    aggregator.started(make_call(stream="sse"))
    aggregator._lock.acquire()  # as left by a fork while another thread holds it
    aggregator.reset()
    assert aggregator.cells() == []
    assert aggregator.faults() == {}
    assert aggregator.streams() == dict.fromkeys(("sse", "ndjson", "eventstream", "websocket"), 0)
    record(aggregator, make_call(key="child"))
    assert by(aggregator, "key") == {"child": 1}


labels = st.one_of(st.none(), st.text(max_size=5), st.sampled_from(["a", "b", "c"]), st.integers(0, 3), st.booleans())
counts = st.one_of(st.none(), st.integers(0, 10**12))
calls = st.builds(
    make_call,
    method=st.one_of(st.sampled_from(["GET", "POST"]), st.text(max_size=4)),
    key=st.one_of(labels, st.sampled_from([ANONYMOUS, INVALID, OTHER_KEY])),
    route=labels,
    model=labels,
    provider=labels,
    status=st.one_of(st.integers(-5, 700), st.none()),
    error=labels,
    limit=labels,
    missing=labels,
    outcome=st.sampled_from(["admitted", "limited", "nonsense"]),
    stream=st.sampled_from([None, "sse", "websocket"]),
    messages=st.integers(0, 5),
    request_bytes=st.integers(0, 10**9),
    response_bytes=st.integers(0, 10**9),
    usage=st.one_of(st.none(), st.builds(Usage, counts, counts, counts, counts, counts)),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(calls, max_size=40), st.integers(0, 3))
def test_sums_over_series_are_sums_over_calls(made, most):
    aggregator = Aggregator(max_keys=most, max_routes=most, max_models=most)
    record(aggregator, *made)
    assert total(aggregator) == len(made)
    for field in ("request_bytes", "response_bytes", "messages"):
        assert total(aggregator, field) == sum(getattr(call, field) for call in made)
    for field in Usage._fields[: Usage._fields.index("details")]:
        assert total(aggregator, field) == sum(getattr(call.usage, field) or 0 for call in made if call.usage)
    assert set(aggregator.active().values()) == {0}
    for cell in aggregator.cells():
        assert isinstance(cell.series.status, int)
        texts = [value for name, value in cell.series._asdict().items() if name != "status"]
        assert all(value is None or type(value) is str for value in texts)
    assert len(by(aggregator, "key")) <= most + 3
    assert len(by(aggregator, "model")) <= most + 2
