"""Calls encoded as spool lines."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keygauge.call import Call
from keygauge.kinds import PART_OF
from keygauge.spool import event
from keygauge.usage import Usage
from keygauge_keyservice.ledger.event import Event, Window, read_line

texts = st.none() | st.text(max_size=20)
plain = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)
counts = st.none() | st.integers(0, 10**9)
WINDOW = Window(0, 2**62)


@given(texts, st.text(), texts, texts, st.text(), texts, st.integers(), st.integers(-(2**70), 2**70), counts)
def test_ledger_accepts_the_line_for_any_caller_input(route, method, error, ip, model, trace, status, took, count):
    call = Call(method=method, ip=ip, time_ns=1_790_000_000_123_456_789, started_ns=1_000_000)
    call.account, call.key, call.route, call.error = "acc", "key", route or "", error
    call.model, call.status, call.ended_ns = model * 300, status, 1_000_000 + took
    call.usage = Usage(count, count)
    assert isinstance(read_line(event.line(call).rstrip(b"\n"), window=WINDOW), Event)


@pytest.mark.parametrize("ip", ["x" * 600, "10.0.0.1, 10.0.0.2", "a\0b", "unix:", "::1%\u200b", ""])
def test_invalid_ip_address_is_null(ip):
    call = Call(method="GET", ip=ip, time_ns=1, started_ns=1)
    assert json.loads(event.line(call))[event.FIELDS.index("ip")] is None


details = st.none() | st.dictionaries(st.sampled_from(list(PART_OF)), st.integers(0, 10**9), min_size=1)
usages = st.builds(Usage, counts, counts, counts, counts, counts, details)


@given(plain, plain, plain, st.ip_addresses(), plain, usages | st.none())
def test_call_is_one_json_line_in_the_order_of_the_fields(account, route, error, ip, model, usage):
    call = Call(method="POST", ip=str(ip), time_ns=1_790_000_000_123_456_789, started_ns=1_000_000)
    call.account, call.route, call.error, call.model, call.usage = account, route, error, model, usage
    call.ended_ns = 3_500_000
    line = event.line(call)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    told = dict(zip(event.FIELDS, json.loads(line), strict=True))
    assert told["time_us"] == 1_790_000_000_123_456
    assert told["duration_us"] == 2_500
    assert told["first_token_us"] is None
    assert (told["account"], told["route"], told["error"], told["ip"]) == (account, route, error, str(ip))
    assert told["model"] == model
    assert Usage(*(told[name] for name in Usage._fields)) == (usage or Usage())


def test_text_cache_is_bounded():
    call = Call(method="GET", ip=None, time_ns=1, started_ns=1)
    for number in range(25_000):
        call.model = f"model {number}"
        event.line(call)
    assert len(event._texts) <= event._MOST_TEXTS
