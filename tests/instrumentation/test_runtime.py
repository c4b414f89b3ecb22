import logging
from threading import Event, Thread

import pytest

from keygauge.call import Call
from keygauge.clock import now_ns
from keygauge.runtime import Runtime
from keygauge.settings.settings import Settings
from keygauge.telemetry import process_metrics
from keygauge.telemetry.aggregator import Aggregator

TOKEN = "test-service-token-0123456789"


@pytest.mark.parametrize(
    ("given", "told", "address"),
    [
        (
            {"service_url": "http://localhost:9", "service_token": TOKEN},
            "mode enforce, service shop, keys and limits from http://127.0.0.1:9",
            "http://127.0.0.1:9",
        ),
        ({"mode": "observe"}, "mode observe, service shop, keys and limits from nowhere", ""),
    ],
)
def test_start_is_logged_in_one_line_without_the_token(caplog, tmp_path, given, told, address):
    with caplog.at_level(logging.INFO, "keygauge.runtime"):
        Runtime(Settings(spool_dir=tmp_path, service_name="shop", **given)).stop()
    (record,) = [record for record in caplog.records if record.levelno == logging.INFO]
    assert told in record.getMessage()
    assert record.__dict__["keygauge.key_service"] == address
    assert TOKEN not in str(record.__dict__)


def test_stop_waits_for_a_call_being_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(process_metrics, "aggregator", Aggregator)  # not shared with other runtimes
    runtime = Runtime(Settings(spool_dir=tmp_path, mode="observe"))
    is_observing, go_on, observed = Event(), Event(), []

    def observe(series, call):
        is_observing.set()
        assert go_on.wait(100)
        observed.append(call)

    runtime.aggregator.observe = observe
    call = Call(method="POST", ip=None, time_ns=0, started_ns=now_ns())
    runtime.aggregator.record(call)
    assert is_observing.wait(100)
    ending = Thread(target=runtime.stop)
    ending.start()
    ending.join(0.1)
    go_on.set()
    ending.join(100)
    assert call in observed


class Unusable(str):
    """An app's own text, whose methods fail."""

    __slots__ = ()

    def isprintable(self):
        raise ArithmeticError


def test_a_tag_that_cannot_be_checked_loses_neither_event_nor_metric(tmp_path, monkeypatch):
    runtime = Runtime(Settings(spool_dir=tmp_path, service_url="http://127.0.0.1:9", service_token=TOKEN))
    done = []
    monkeypatch.setattr(runtime._spool, "append", done.append)
    monkeypatch.setattr(runtime.aggregator, "record", done.append)
    call = Call(method="POST", ip=None, time_ns=0, started_ns=now_ns(), account="acme", tag=Unusable("u"))
    runtime.settle(call)
    runtime.stop()
    assert len(done) == 2
    assert call.tag is None


@pytest.mark.parametrize(("owner", "step"), [("aggregator", "record"), ("authorizer", "settle"), ("_spool", "append")])
def test_failing_settlement_step_does_not_prevent_the_others(tmp_path, monkeypatch, owner, step):
    runtime = Runtime(Settings(spool_dir=tmp_path, service_url="http://127.0.0.1:9", service_token=TOKEN))
    done = []
    for name, verb in (("_spool", "append"), ("aggregator", "record"), ("authorizer", "settle")):

        def do(*_, verb=verb):
            done.append(verb)
            if verb == step:
                raise ArithmeticError

        monkeypatch.setattr(getattr(runtime, name), verb, do)
    before = runtime.aggregator.faults().copy()
    call = Call(method="POST", ip=None, time_ns=0, started_ns=now_ns())
    call.account, call.reservation = "acme", object()
    monkeypatch.setattr(runtime.authorizer, "mark_estimated", lambda _: None)
    runtime.settle(call)
    assert done == ["append", "record", "settle"]
    reason = {"append": "event"}.get(step, step)
    assert runtime.aggregator.faults()[reason] == before.get(reason, 0) + 1
    runtime.stop()
